"""How good a set of probabilities is: every metric the platform reports, computed in one place.

A run needs the scores some hundred times, where scikit-learn's checks would take most of the time: those are computed
here, with scikit-learn's digits.

Sources: Brier score (Brier 1950), ROC AUC (Hanley & McNeil 1982; one-versus-rest macro average for many classes).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from sklearn import metrics as sk

from healthrisk.spec import DatasetSpec, Metric, metric
from healthrisk.training.decision import CalibrationCurve, ClassFigures, Figures, RocCurve

Labels = NDArray[np.int64]
Probabilities = NDArray[np.floating[Any]]


def brier(y: Labels, p: Probabilities) -> float:
    """Mean squared distance of probabilities [rows, classes] from the outcome; with two classes, of the event's."""
    return float(np.mean(squared_distances(y, p)))


def squared_distances(y: Labels, p: Probabilities) -> NDArray[np.float64]:
    """Return the squared distance of each row's probabilities from its outcome [rows]; of two classes, the event's."""
    if p.shape[1] == 2:
        return np.asarray((p[:, 1] - y) ** 2)
    return np.asarray(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1))


def row_losses(y: Labels, p: Probabilities) -> NDArray[np.float64]:
    """Return each row's log loss [rows], of which scikit-learn's is the mean, to the last digit."""
    eps = np.finfo(np.float64).eps
    given = p[np.arange(len(y)), y].astype(np.float64)
    # scikit-learn's logarithm: numpy's may differ in the last digit.
    return np.asarray(-special.xlogy(1.0, np.clip(given, eps, 1 - eps)))


def f1_macro(y: Labels, p: Probabilities) -> float:
    """F1 of the likeliest class, averaged over the classes that occur or are predicted."""
    classes = p.shape[1]
    confusion = np.bincount(classes * y + p.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
    hits, rows = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * hits[rows > 0] / rows[rows > 0]))


def roc_auc(y: Labels, p: Probabilities) -> float:
    """Area under the ROC curve; the macro average of one class against the rest where there are many.

    NaN where a class is absent. It is computed from ranks (Mann and Whitney).
    """
    if p.shape[1] == 2:
        return _area(y == 1, p[:, 1])
    return float(np.mean([_area(y == k, p[:, k]) for k in range(p.shape[1])]))


def _area(event: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> float:
    events = int(event.sum())
    pairs = events * (len(event) - events)
    above = float(stats.rankdata(score)[event].sum()) - events * (events + 1) / 2
    return above / pairs if pairs else math.nan


_FUNCTIONS: dict[Metric, Callable[[Labels, Probabilities], float]] = {
    metric.ACCURACY: lambda y, p: float(np.mean(p.argmax(axis=1) == y)),
    metric.F1_MACRO: f1_macro,
    metric.ROC_AUC: roc_auc,
    metric.LOG_LOSS: lambda y, p: float(np.mean(row_losses(y, p))),
    metric.BRIER: brier,
}
if set(_FUNCTIONS) != set(metric.SCORES):
    raise NotImplementedError(f"a function for each of {metric.SCORES} is needed")


def score(which: Metric, y: Labels, p: Probabilities) -> float:
    """Return a metric of probabilities [rows, classes] for class positions [rows]."""
    return _FUNCTIONS[which](y, p)


def score_all(y: Labels, p: Probabilities) -> dict[str, float]:
    """Return every metric of `healthrisk.spec.metric.SCORES` by its name."""
    wide = p.astype(np.float64)
    return {which.name: score(which, y, wide) for which in metric.SCORES}


def measure(spec: DatasetSpec, y: Labels, p: Probabilities) -> Figures:
    """Return `score_all`, precision, recall, F1 by class and averaged, and the confusion matrix [true, predicted]."""
    predicted = p.argmax(axis=1)
    positions = np.arange(len(spec.target.classes))
    scores = score_all(y, p)
    averages = ("macro", "weighted") if not spec.is_binary else ("binary",)
    for average in averages:
        values = sk.precision_recall_fscore_support(y, predicted, average=average, zero_division=0.0)[:3]
        suffix = "" if average == "binary" else f"_{average}"
        scores |= {f"{name}{suffix}": float(v) for name, v in zip(("precision", "recall", "f1"), values, strict=True)}
    columns = sk.precision_recall_fscore_support(y, predicted, labels=positions, zero_division=0.0)
    return Figures(
        rows=len(y),
        scores=scores,
        by_class=tuple(
            ClassFigures(name=cls.name, precision=float(a), recall=float(b), f1=float(c), rows=int(n))
            for cls, a, b, c, n in zip(spec.target.classes, *columns, strict=True)
        ),
        confusion=tuple(map(tuple, sk.confusion_matrix(y, predicted, labels=positions).tolist())),
    )


def roc_points(y: Labels, p: Probabilities) -> RocCurve:
    """Return the finite points of the event's ROC curve: scikit-learn's first threshold is infinite and is clamped."""
    fpr, tpr, thresholds = sk.roc_curve(y, p[:, 1])
    return RocCurve(
        fpr=tuple(fpr.tolist()), tpr=tuple(tpr.tolist()), thresholds=tuple(np.minimum(thresholds, 1.0).tolist())
    )


def calibration_points(outcome: NDArray[np.bool_], probability: NDArray[np.floating[Any]]) -> CalibrationCurve:
    """Return mean prediction, observed share and size of up to ten equally filled groups by predicted probability."""
    groups = np.array_split(np.argsort(probability, kind="stable"), min(10, max(1, len(probability) // 10)))
    return CalibrationCurve(
        predicted=tuple(float(probability[group].mean()) for group in groups),
        observed=tuple(float(outcome[group].mean()) for group in groups),
        rows=tuple(len(group) for group in groups),
    )
