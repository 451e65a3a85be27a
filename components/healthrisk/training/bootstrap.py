"""Bootstrap intervals: a metric of five hundred resamples, without computing what resampling does not change.

A resample keeps every row's loss, and the order of all scores: drawn again are means of losses, and an area follows
from how often each row was drawn. The values are those of the metrics themselves, to the last digit: the sums of an
area are of whole and half numbers, which floating point holds exactly.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from healthrisk.spec import Metric, metric
from healthrisk.training import metrics
from healthrisk.training.intervals import CONFIDENCE, Estimate, Interval
from healthrisk.training.metrics import Labels, Probabilities

RESAMPLES = 500
Drawn = NDArray[np.intp]
Resample = Callable[[Drawn], float]


def interval(which: Metric, y: Labels, p: Probabilities, seed: int) -> Interval:
    """Return a metric's 95 % percentile interval over stratified resamples of the rows."""
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(y == k) for k in np.unique(y)]
    resample = _prepare(which, y, p.astype(np.float64))
    values = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        values[i] = resample(np.concatenate([rng.choice(group, len(group)) for group in rows]))
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(low=float(low), high=float(high))


def estimate(which: Metric, y: Labels, p: Probabilities, seed: int) -> Estimate:
    """Return a metric with its bootstrap interval."""
    between = interval(which, y, p, seed)
    return Estimate(mean=metrics.score(which, y, p), low=between.low, high=between.high)


def _prepare(which: Metric, y: Labels, p: NDArray[np.float64]) -> Resample:
    if which == metric.ROC_AUC:
        return _area(y, p)
    losses = _row_values(which, y, p)
    if losses is None:
        return lambda drawn: metrics.score(which, y[drawn], p[drawn])
    return lambda drawn: float(np.mean(losses[drawn]))


def _row_values(which: Metric, y: Labels, p: NDArray[np.float64]) -> NDArray[Any] | None:
    """Return what a metric is the mean of [rows]; None of one that is no mean over rows."""
    if which == metric.ACCURACY:
        return np.asarray(p.argmax(axis=1) == y)
    if which == metric.LOG_LOSS:
        eps = np.finfo(p.dtype).eps
        # scikit-learn's logarithm: numpy's may differ in the last digit.
        return np.asarray(-special.xlogy(1.0, np.clip(p[np.arange(len(y)), y], eps, 1 - eps)))
    if which == metric.BRIER:
        return metrics.squared_distances(y, p)
    return None


def _area(y: Labels, p: NDArray[np.float64]) -> Resample:
    """Return the area under the ROC curve by how often each row was drawn: ranks are counted, not sorted anew."""
    binary = p.shape[1] == 2
    places = [1] if binary else range(p.shape[1])
    areas = [_area_of(y == place, p[:, place]) for place in places]

    def resample(drawn: Drawn) -> float:
        counts = np.bincount(drawn, minlength=len(y))
        return areas[0](counts) if binary else float(np.mean([area(counts) for area in areas]))

    return resample


def _area_of(event: NDArray[np.bool_], score: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], float]:
    order = np.argsort(score, kind="stable")
    sorted_scores, happened = score[order], event[order]
    # Where each run of equal scores begins: its rows share a rank.
    begins = np.flatnonzero(np.append(True, sorted_scores[1:] != sorted_scores[:-1]))

    def area(counts: NDArray[np.intp]) -> float:
        drawn = counts[order]
        tied, hits = np.add.reduceat(drawn, begins), np.add.reduceat(drawn * happened, begins)
        events, rows = int(hits.sum()), int(tied.sum())
        # Twice the mean rank of each run.
        doubled = 2 * (np.cumsum(tied) - tied) + tied + 1
        above = int(hits @ doubled) / 2 - events * (events + 1) / 2
        pairs = events * (rows - events)
        return above / pairs if pairs else math.nan

    return area
