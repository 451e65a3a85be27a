"""A world of invented patients: they look like those of the shipped table, and outcomes follow from their values.

One day it becomes another world (concept drift): the same patients come, but what showed the disease shows it no more,
and what hardly mattered does. As many are ill as before.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.linear_model import LogisticRegression

from healthrisk import spec as specs
from healthrisk.training import preprocessing
from tests.support import sample_bundle

NAME = "heart-disease"
# How much more clearly risks lie apart than a model fitted on 303 patients says, before the change and after it: about
# equally clearly in both worlds, so that labels look no more wrong in the other.
_CLEARER, _CLEARER_AFTER = 1.2, 1.7
# From the change on, by how much the effect of a column is multiplied.
_EFFECTS = {
    **dict.fromkeys(("ca", "thal", "cp", "sex"), 0.0),
    **{"exang": 0.5, "thalach": 2.0, "trestbps": 4.0, "chol": 6.0},
    # It evens out what goes with age, so that a right model finds the ill of every age, as the gate of the spec asks.
    "age": 10.0,
}
# Of each value, whether it is another patient's: so that no two patients are the same.
_EXCHANGED = 0.15


class World:
    """Patients and their outcomes; `changed` says whether the change has come. Their model is called `name`."""

    def __init__(self, seed: int, name: str = NAME) -> None:
        shipped = specs.load(NAME)
        self.spec = shipped.model_copy(update={"name": name})
        self.changed = False
        self._rng = np.random.default_rng(seed)
        # The shipped table: encoded rows [rows, features], and class positions [rows].
        self.shipped = self._rows, y = sample_bundle.rows_of(shipped, seed)
        self._preprocessor = preprocessing.fit(self.spec, self._rows)[1]
        inputs = self._preprocessor.transform(self._rows)
        truth = LogisticRegression(C=0.3, max_iter=5000).fit(inputs, y)
        before = _CLEARER * truth.coef_[0]
        after = (
            _CLEARER_AFTER
            * truth.coef_[0]
            * [_EFFECTS.get(name.partition("=")[0], 1.0) for name in self._preprocessor.outputs]
        )
        base = _CLEARER * float(truth.intercept_[0])
        same = float(np.median(inputs @ before) - np.median(inputs @ after))
        self._effects, self._base = {False: before, True: after}, {False: base, True: base + same}

    def patients(self, count: int) -> NDArray[np.float64]:
        """Return the next patients, encoded [count, features]."""
        drawn = self._rng.integers(len(self._rows), size=(count, self._rows.shape[1]))
        own = np.where(self.some(drawn.shape, _EXCHANGED), drawn, drawn[:, :1])
        return np.take_along_axis(self._rows, own, axis=0)

    def outcomes(self, patients: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return what becomes of patients, as class positions [rows]."""
        logit = self._preprocessor.transform(patients) @ self._effects[self.changed] + self._base[self.changed]
        return np.asarray(self.some(len(patients), special.expit(logit)), dtype=np.int64)

    def some(self, shape: int | tuple[int, ...], share: float | NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of so many belong to a share of them that chance has drawn."""
        return self._rng.random(shape) < share
