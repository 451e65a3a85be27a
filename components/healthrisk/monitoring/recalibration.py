"""The logistic recalibration that fits counts best, with any slope or with one that is bounded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from healthrisk.monitoring.figures import Bins

# A pull towards no recalibration worth one outcome: without it no best fit exists where probabilities separate the
# outcomes completely.
_PULL = 0.25
_UNBOUNDED = (-math.inf, math.inf)
# The likelihood is compared with others, so it is taken to the last digits.
_TOLERANCES = {"ftol": 1e-14, "gtol": 1e-8}


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
    return _best(logit, bins, near, _UNBOUNDED, _PULL)


def fit_within(
    logit: NDArray[np.float64], bins: Bins, slopes: tuple[float, float], near: Recalibration
) -> Recalibration:
    """Return the best recalibration whose slope lies within bounds; both outcomes must occur."""
    return _best(logit, bins, near, slopes, 0.0)


def _best(
    logit: NDArray[np.float64], bins: Bins, near: Recalibration, slopes: tuple[float, float], pull: float
) -> Recalibration:
    """Return the maximum of the log-likelihood, which is concave, less `pull` times the squared distance to (0, 1)."""

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        away = point - (0.0, 1.0)
        surplus = bins.events - bins.rows * special.expit(point[0] + point[1] * logit)
        height = log_likelihood(Recalibration(*point), logit, bins) - pull * float(away @ away)
        return -height, 2 * pull * away - np.array([surplus.sum(), surplus @ logit])

    start = (near.intercept, min(max(near.slope, slopes[0]), slopes[1]))
    best = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[_UNBOUNDED, slopes], options=_TOLERANCES
    ).x
    return Recalibration(float(best[0]), float(best[1]))
