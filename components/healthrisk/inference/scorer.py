"""Offline prediction: the bundle's own preprocessor and classifier, as the servers run them."""

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle, parity
from healthrisk.spec import DatasetSpec


class Scorer:
    """A whole bundle: encoded rows in, probabilities out."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.model = bundle.classifier(threads)

    def probabilities(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes] for an encoded matrix [rows, features]."""
        return self.model.probabilities(self.bundle.preprocessor.transform(matrix))

    def replay_golden(self) -> None:
        """Score the bundle's golden rows again.

        Raises:
            BundleError: an answer differs from the recorded one by more than 1e-6.
        """
        golden = self.bundle.golden
        inputs = self.bundle.preprocessor.transform(golden_matrix(self.bundle.spec, golden.rows))
        answers = np.stack([engine.probabilities(inputs) for engine in self.model.engines()])
        parity.check(answers, np.asarray(golden.probability), f"bundle {self.bundle.path}: golden row", "golden.json")


@lru_cache(maxsize=1)
def open_scorer(address: str, digest: str, threads: int = 1) -> Scorer:
    """Return the scorer of the bundle at an address; who scores fragment after fragment opens it once.

    Raises:
        StoreError, BundleError: as `store.fetch`.
    """
    # The object store's client, which a server that has its bundle does not need.
    from healthrisk.bundle import store

    with tempfile.TemporaryDirectory(prefix="healthrisk-bundle-") as cache:
        return Scorer(store.fetch(address, digest, Path(cache)), threads)


def golden_matrix(spec: DatasetSpec, rows: Sequence[Sequence[float | str | None]]) -> NDArray[np.float64]:
    """Return the encoded matrix of rows of raw values, as golden.json holds them."""
    lookups = [column.code_values if column.is_text else None for column in spec.columns]
    return np.array(
        [
            [
                np.nan if value is None else lookup[str(value)] if lookup else float(value)
                for value, lookup in zip(row, lookups, strict=True)
            ]
            for row in rows
        ]
    )


def risk_levels(spec: DatasetSpec, probabilities: NDArray[np.float32]) -> list[str]:
    """Return each row's risk level, by the probabilities of the event or of each level's classes."""
    if spec.is_binary:
        bounds = np.array([level.below for level in spec.risk_levels[:-1]], dtype=np.float64)
        positions = np.searchsorted(bounds, probabilities[:, 1], side="right")
    else:
        values = [cls.value for cls in spec.target.classes]
        positions = np.zeros(len(probabilities), dtype=np.intp)
        for place, level in enumerate(spec.risk_levels[1:], 1):
            named = probabilities[:, [values.index(value) for value in level.any_of]].sum(axis=1)
            positions[named >= np.float32(level.at_least)] = place
    names = np.array([level.name for level in spec.risk_levels], dtype=object)
    levels: list[str] = names[positions].tolist()
    return levels
