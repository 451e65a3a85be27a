"""The logistic recalibration that fits counts best, with any slope or with one that is bounded.

The log-likelihood is concave in intercept and slope, so Newton's method with halved steps finds its only summit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from healthrisk.monitoring.figures import Bins

# A pull towards no recalibration worth one outcome: without it outcomes that are told apart perfectly have no summit.
_PULL = 0.25
_STEPS = 50
_ENOUGH = 1e-9
_HALVINGS = 30
# On a plain that never ends a step is long, and not infinite.
_FLAT = 1e-9


@dataclass(frozen=True)
class Recalibration:
    """Log-odds become intercept + slope * log-odds."""

    intercept: float
    slope: float


def log_likelihood(by: Recalibration, logit: NDArray[np.float64], bins: Bins) -> float:
    """Return the log-likelihood of counts whose bins stand for log-odds [bins]."""
    eta = by.intercept + by.slope * logit
    return float(-(bins.events @ np.logaddexp(0, -eta)) - bins.others @ np.logaddexp(0, eta))


def fit(logit: NDArray[np.float64], bins: Bins, near: Recalibration) -> Recalibration:
    """Return the best recalibration, pulled a little towards none; `near` is where to begin."""
    return _climb(logit, bins, near, pull=_PULL, free=True)


def fit_within(
    logit: NDArray[np.float64], bins: Bins, slopes: tuple[float, float], near: Recalibration
) -> Recalibration:
    """Return the best recalibration whose slope lies within bounds; both outcomes must occur."""
    low, high = slopes
    if low < near.slope < high:
        inside = _climb(logit, bins, near, pull=0.0, free=True)
        if low <= inside.slope <= high:
            return inside
    # From a bound at which the summit falls away, it falls away all the way beyond.
    lowest, highest = (_climb(logit, bins, Recalibration(near.intercept, s), pull=0.0, free=False) for s in slopes)
    if _gradient(logit, bins, lowest)[1] <= 0:
        return lowest
    if _gradient(logit, bins, highest)[1] >= 0:
        return highest
    return _climb(logit, bins, lowest, pull=0.0, free=True)


def _gradient(logit: NDArray[np.float64], bins: Bins, at: Recalibration) -> NDArray[np.float64]:
    surplus = bins.events - bins.rows * special.expit(at.intercept + at.slope * logit)
    return np.array([surplus.sum(), surplus @ logit])


def _climb(logit: NDArray[np.float64], bins: Bins, start: Recalibration, *, pull: float, free: bool) -> Recalibration:
    """Return the summit of the log-likelihood less `pull` times the squared distance of (0, 1), by Newton's method."""
    origin, point = np.array([0.0, 1.0]), np.array([start.intercept, start.slope])
    kept = slice(0, 2 if free else 1)

    def height(at: NDArray[np.float64]) -> float:
        return log_likelihood(Recalibration(*at), logit, bins) - pull * float((at - origin) @ (at - origin))

    current = height(point)
    for _ in range(_STEPS):
        p = special.expit(point[0] + point[1] * logit)
        weights = bins.rows * p * (1 - p)
        gradient = _gradient(logit, bins, Recalibration(*point)) - 2 * pull * (point - origin)
        cross = weights @ logit
        curvature = np.array([[weights.sum(), cross], [cross, weights @ logit**2]]) + (2 * pull + _FLAT) * np.eye(2)
        step = np.zeros(2)
        step[kept] = np.linalg.solve(curvature[kept, kept], gradient[kept])
        for _ in range(_HALVINGS):
            if height(point + step) >= current:
                break
            step /= 2
        point, before = point + step, current
        current = height(point)
        if current - before < _ENOUGH:
            break
    return Recalibration(float(point[0]), float(point[1]))
