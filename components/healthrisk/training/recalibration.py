"""Recalibration: one slope for all log-odds and an intercept for each class, fitted on rows a classifier has not seen.

Of two classes this is Platt's (Advances in Large Margin Classifiers, 1999) on the log-odds, with his targets; of more
it is temperature scaling with the bias corrected (Alexandari, Kundaje and Shrikumar, ICML 2020).
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from healthrisk.errors import TrainingError
from healthrisk.training.grouping import Groups

# Where all trees of a forest agree its probability is 0, which has no logarithm.
FLOOR = 1e-6


class Layer(NamedTuple):
    """What log-probabilities are multiplied by, and what is added to each class's [classes], 0 to the first's."""

    slope: float
    shifts: NDArray[np.float64]

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [rows, classes] for log-probabilities, up to a constant in each row."""
        return np.asarray(softmax(self.slope * scores + self.shifts, axis=1))


class RecalibratedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose probabilities are recalibrated by what cross-validation within its own rows finds."""

    def __init__(self, classifier: ClassifierMixin, folds: int, seed: int) -> None:
        self.classifier, self.folds, self.seed = classifier, folds, seed

    def fit(self, inputs: NDArray[np.float64], y: NDArray[np.int64], groups: Groups | None = None) -> Self:
        """Fit the classifier on all rows, and the layer on what those of the folds say of the rows held out.

        Raises:
            TrainingError: a class has too few rows, or groups of them, to stand on both sides of every fold.
        """
        classes, places = np.unique(y, return_inverse=True)
        scores = np.zeros((len(y), len(classes)))
        for fit_on, held_out in self._splits(y, groups):
            if len(np.unique(y[fit_on])) < len(classes):
                raise TrainingError("recalibration: a class has too few rows to stand on both sides of every fold")
            scores[held_out] = log_scores(clone(self.classifier).fit(inputs[fit_on], y[fit_on]), inputs[held_out])
        self.slope_, self.shifts_ = fit_layer(scores, places)
        self.classifier_ = clone(self.classifier).fit(inputs, y)
        self.classes_ = classes
        return self

    @property
    def layer(self) -> Layer:
        """What was fitted besides the classifier."""
        return Layer(self.slope_, self.shifts_)

    def predict_proba(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return recalibrated probabilities [rows, classes]."""
        return self.layer.probabilities(log_scores(self.classifier_, inputs))

    def _splits(self, y: NDArray[np.int64], groups: Groups | None) -> Any:
        """Folds as those of the cross-validation around it, fewer where a class has fewer rows."""
        least = int(np.bincount(y)[np.unique(y)].min())
        if least < 2:
            raise TrainingError("recalibration: a class has a single row, and would stand on one side of every fold")
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        return kind(min(self.folds, least), shuffle=True, random_state=self.seed).split(y[:, None], y, groups)


def log_scores(classifier: ClassifierMixin, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a classifier's log-probabilities [rows, classes], up to a constant in each row."""
    if isinstance(classifier, LogisticRegression | HistGradientBoostingClassifier):
        scores = classifier.decision_function(inputs)
        return np.column_stack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else np.asarray(scores)
    return np.asarray(np.log(np.maximum(classifier.predict_proba(inputs), FLOOR)))


def fit_layer(scores: NDArray[np.float64], y: NDArray[np.int64]) -> Layer:
    """Return the likeliest layer for log-probabilities [rows, classes] of rows of these class positions [rows].

    Platt's targets stand a little within 0 and 1, so that classes that can be told apart have an answer, too.
    """
    rows, classes = scores.shape
    counts = np.bincount(y, minlength=classes)
    sure = (counts + 1) / (counts + 2)
    targets = np.tile(((1 - sure) / (classes - 1))[y][:, None], classes)
    targets[np.arange(rows), y] = sure[y]

    def loss(layer: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        values = layer[0] * scores + np.append(0.0, layer[1:])
        excess = softmax(values, axis=1) - targets
        gradient = np.append((excess * scores).sum(), excess.sum(axis=0)[1:])
        return -float((targets * log_softmax(values, axis=1)).sum()) / rows, gradient / rows

    # A slope below 0 would turn ranks round.
    bounds = [(0.0, None), *[(None, None)] * (classes - 1)]
    optimum = minimize(loss, np.append(1.0, np.zeros(classes - 1)), jac=True, method="L-BFGS-B", bounds=bounds)
    return Layer(float(optimum.x[0]), np.append(0.0, optimum.x[1:]))


class LinearNumbers(NamedTuple):
    """Coefficients [outputs, inputs] and intercepts [outputs] of log-odds, one output for two classes."""

    coefficients: NDArray[np.float64]
    intercepts: NDArray[np.float64]


def linear_numbers(classifier: ClassifierMixin) -> LinearNumbers | None:
    """Return the numbers of a linear classifier with its recalibration in them; None where it is not linear."""
    plain = classifier.classifier_ if isinstance(classifier, RecalibratedClassifier) else classifier
    if not isinstance(plain, LogisticRegression):
        return None
    if plain is classifier:
        return LinearNumbers(plain.coef_, plain.intercept_)
    slope, shifts = classifier.layer
    return LinearNumbers(slope * plain.coef_, slope * plain.intercept_ + shifts[-len(plain.intercept_) :])
