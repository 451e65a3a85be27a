"""Why a patient got this probability: Shapley values of the served model over the clinical variables.

The game is interventional: a variable outside the coalition takes a background patient's value, and a coalition is
worth the mean served probability. Values are estimated by walking from each background patient to the one explained,
one variable at a time in random order and back in the reverse order (antithetic permutation sampling: Strumbelj and
Kononenko, Knowl Inf Syst 41, 2014; Mitchell et al., JMLR 23, 2022). Every walk ends at the served probability, so base
and values add up to it exactly, whatever the sampling error, which is estimated too.

A variable moves as a whole, through imputation, scaling and one-hot encoding, so no columns need summing afterwards.
One method serves every family, for it asks only what the served model asks: probabilities. TreeSHAP would explain
boosting's log-odds, not its probability; the shap package brings a compiler of 200 MB into an image and wants scikit-
learn's objects, which a server must not open. Tests compare with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.bundle.reference import Reference
from healthrisk.inference import background
from healthrisk.inference.scorer import Scorer
from healthrisk.spec import DatasetSpec

# Encoded rows [rows, features] to probabilities [rows, classes].
Score = Callable[[NDArray[np.float64]], NDArray[np.floating[Any]]]
# How many background patients, times classes: a boosted model costs in proportion to its classes. Each starts a pair of
# walks, which keeps the slowest model that ships below 50 ms a patient on one core.
BACKGROUND = 256


@dataclass(frozen=True)
class Explanation:
    """The base [classes], each variable's value [features, classes] and its standard error, and what they add up to."""

    base: NDArray[np.float64]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    probability: NDArray[np.float64]


class Explainer:
    """Explains rows of a model, given what scores them and how the rows it was made from were distributed."""

    def __init__(
        self,
        spec: DatasetSpec,
        reference: Reference,
        score: Score,
        rows: int = 0,
        pairs: int = 1,
        seed: int = 0,
    ) -> None:
        """Draw `rows` background patients, each of which starts `pairs` pairs of walks."""
        self._score = score
        rows = rows or max(32, BACKGROUND // len(spec.target.classes))
        self.background = background.draw(spec, reference, rows, seed)
        features = len(spec.features)
        rng = np.random.default_rng(seed)
        forward = rng.permuted(np.tile(np.arange(features), (rows * pairs, 1)), axis=1)
        # [walks, features]: at which step each variable is exchanged; the second half walks in the reverse order.
        self._turns = np.concatenate([forward, features - 1 - forward])
        self._start = np.tile(self.background, (2 * pairs, 1))
        # [walks, features - 1, features]: which variables are the patient's after each step but the last.
        self._exchanged = self._turns[:, None, :] <= np.arange(features - 1)[None, :, None]
        self._start_scores = score(self._start).astype(np.float64)

    @classmethod
    def of(cls, bundle: Bundle, rows: int = 0, pairs: int = 1, seed: int = 0) -> Self:
        """Return the explainer of a bundle's served model; it reads none of the bundle's pickled files."""
        return cls(bundle.spec, bundle.reference, Scorer(bundle).probabilities, rows, pairs, seed)

    def explain(self, row: NDArray[np.float64]) -> Explanation:
        """Explain an encoded row [features], NaN where a value is missing."""
        walks, steps, features = self._exchanged.shape
        mixed = np.where(self._exchanged, row, self._start[:, None, :]).reshape(-1, features)
        scores = self._score(np.vstack([mixed, row])).astype(np.float64)
        between = scores[:-1].reshape(walks, steps, -1)
        end = np.broadcast_to(scores[-1], (walks, 1, scores.shape[1]))
        path = np.concatenate([self._start_scores[:, None, :], between, end], axis=1)
        moved = np.take_along_axis(np.diff(path, axis=1), self._turns[:, :, None], axis=1)
        pairs = moved.reshape(2, walks // 2, features, -1).mean(axis=0)
        return Explanation(
            base=self._start_scores.mean(axis=0),
            values=pairs.mean(axis=0),
            errors=pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs)),
            probability=scores[-1],
        )
