"""Bootstrap intervals: a metric of five hundred resamples, without computing what resampling does not change.

A resample keeps every row's loss, and the order of all scores: drawn again are means of losses, and an area follows
from how often each score was drawn, with the event and without. The values are those of the metrics themselves, to the
last digit: the sums of an area are of whole and half numbers, which floating point holds exactly.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        return metrics.row_losses(y, p)
    if which == metric.BRIER:
        return metrics.squared_distances(y, p)
    return None


def _area(y: Labels, p: NDArray[np.float64]) -> Resample:
    """Return the area under the ROC curve of drawn rows: ranks are counted, not sorted anew."""
    binary = p.shape[1] == 2
    places = [1] if binary else range(p.shape[1])
    areas = [_area_of(y == place, p[:, place]) for place in places]

    def resample(drawn: Drawn) -> float:
        return areas[0](drawn) if binary else float(np.mean([area(drawn) for area in areas]))

    return resample


def _area_of(event: NDArray[np.bool_], score: NDArray[np.float64]) -> Resample:
    distinct, place = np.unique(score, return_inverse=True)
    # A row's cell: its score's place, and whether the event happened.
    cells = 2 * place + event

    def area(drawn: Drawn) -> float:
        others, hits = np.bincount(cells[drawn], minlength=2 * len(distinct)).reshape(-1, 2).T
        pairs = int(hits.sum()) * int(others.sum())
        # Of the same score, half count as below.
        doubled = 2 * np.cumsum(others) - others
        return int(hits @ doubled) / 2 / pairs if pairs else math.nan

    return area
