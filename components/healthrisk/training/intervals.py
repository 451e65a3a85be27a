"""Figures with their 95 % intervals.

Sources: corrected resampled t interval (Nadeau & Bengio, Machine Learning 52, 2003), share (Wilson, JASA 22, 1927),
difference of shares (Newcombe, Stat Med 17, 1998, method 10).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from healthrisk.documents import Document

CONFIDENCE = 0.95


class Interval(Document):
    """A 95 % interval, unless said otherwise."""

    low: float
    high: float


class Estimate(Interval):
    """A figure and its interval."""

    mean: float


class CrossValidated(Estimate):
    """A metric's mean over all folds with its standard error and interval, both corrected for resampling."""

    standard_error: float


def resampled(
    scores: NDArray[np.float64], folds: int, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> CrossValidated:
    """Return mean, standard error and interval of scores [repeats * folds] of a repeated cross-validation.

    Training parts overlap, so the naive variance of the mean is too small; Nadeau and Bengio's correction adds
    the ratio of test to training rows, 1 / (folds - 1). The interval is cut at the metric's `bounds`.
    """
    count = len(scores)
    variance = float(scores.var(ddof=1)) if count > 1 else 0.0
    error = float(np.sqrt((1 / count + 1 / (folds - 1)) * variance))
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error if count > 1 else 0.0
    mean = float(scores.mean())
    low, high = max(bounds[0], mean - margin), min(bounds[1], mean + margin)
    return CrossValidated(mean=mean, standard_error=error, low=low, high=high)


def proportion(hits: int, of: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return a share and its interval; `of` must be at least 1."""
    interval = stats.binomtest(hits, of).proportion_ci(confidence, method="wilson")
    return Estimate(mean=hits / of, low=float(interval.low), high=float(interval.high))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return the difference of two independent shares."""
    mean = one.mean - other.mean
    below = math.hypot(one.mean - one.low, other.high - other.mean)
    above = math.hypot(one.high - one.mean, other.mean - other.low)
    return Estimate(mean=mean, low=mean - below, high=mean + above)


def wald(mean: float, error: float, confidence: float = CONFIDENCE) -> Estimate:
    """Return a figure with the normal interval of its standard error."""
    margin = float(stats.norm.ppf((1 + confidence) / 2)) * error
    return Estimate(mean=mean, low=mean - margin, high=mean + margin)


def at_confidence(estimate: Estimate, confidence: float) -> Estimate:
    """Return a figure that has a 95 % Wald interval with one of another confidence."""
    error = (estimate.high - estimate.low) / 2 / float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    return wald(estimate.mean, error, confidence)
