"""Real bundles of every family, the rows that they were made of, and what they answer offline."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healthrisk import spec as specs
from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.inference.scorer import Scorer, golden_matrix
from healthrisk.spec import DatasetSpec
from healthrisk.training import threads
from tests.support import sample_bundle
from tests.support.once import Once


@pytest.fixture(scope="session")
def heart() -> tuple[DatasetSpec, np.ndarray, np.ndarray]:
    """The spec, the encoded matrix and the class positions of the shipped heart data."""
    spec = specs.load("heart-disease")
    return spec, *sample_bundle.rows_of(spec, 0)


@pytest.fixture(scope="session")
def make_bundle(once: Once) -> Callable[..., Path]:
    """Return a maker of bundles, each made once; nobody changes one."""

    @cache
    def make(dataset: str = "heart-disease", family: str = "random_forest", seed: int = 7) -> Path:
        def build(folder: Path) -> None:
            # protobuf turns a warning about numpy's whole numbers in converted trees into an error of its own.
            with warnings.catch_warnings(action="ignore"), threads.for_rows(1000):
                sample_bundle.build(dataset, family, folder, seed)

        (path,) = once(f"{Path(dataset).stem}-{family}-{seed}", build).iterdir()
        return path

    return make


@pytest.fixture(scope="session")
def bundle_of(make_bundle: Callable[..., Path]) -> Callable[..., Bundle]:
    """Return an opener of bundles."""
    return cache(lambda dataset, family: Bundle.open(make_bundle(dataset, family)))


@pytest.fixture(scope="session")
def raw_rows() -> Callable[..., list[dict[str, Any]]]:
    """Return the rows that a bundle was made from, as raw values by feature."""

    @cache
    def load(path: Path, seed: int = 7) -> list[dict[str, Any]]:
        spec = Bundle.open(path).spec
        matrix, _ = sample_bundle.rows_of(spec, seed)
        return [dict(zip(spec.features, row, strict=True)) for row in encoding.decode(spec, matrix)]

    return load


@pytest.fixture(scope="session")
def offline() -> Callable[..., np.ndarray]:
    """Return the offline probabilities of raw rows."""

    def score(bundle: Bundle, rows: list[dict[str, Any]]) -> np.ndarray:
        return Scorer(bundle).probabilities(golden_matrix(bundle.spec, [list(row.values()) for row in rows]))

    return score


@pytest.fixture(scope="session")
def as_tensors() -> Callable[..., list[dict[str, Any]]]:
    """Return v2 inputs of raw rows: one tensor a feature."""

    def convert(bundle: Bundle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "name": column.name,
                "datatype": "BYTES" if column.is_text else "FP64",
                "shape": [len(rows)],
                "data": [row[column.name] for row in rows],
            }
            for column in bundle.spec.columns
        ]

    return convert
