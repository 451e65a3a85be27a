"""Whether a probability means what it says, and whether acting on it helps.

Slope and intercept: Cox, Biometrika 45, 1958; Van Calster et al., J Clin Epidemiol 74, 2016. Net benefit: Vickers and
Elkin, Med Decis Making 26, 2006.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

from healthrisk.evidence.documents import Calibration, NetBenefit
from healthrisk.evidence.event import Event
from healthrisk.training.intervals import Estimate, wald

# A forest may say 0 or 1, whose log-odds are infinite; probabilities are kept this far from both.
EDGE = 0.001
# So little penalty that the estimate is that of maximum likelihood, and exists where a group is separated perfectly.
UNPENALISED = 1e6
THRESHOLDS = np.round(np.arange(0.01, 0.96, 0.01), 2)


def measure(event: Event, weights: NDArray[np.float64] | None = None) -> Calibration:
    """Return calibration slope, its joint intercept, and the intercept in the large, with 95 % Wald intervals.

    `weights` [rows] say how many rows each one stands for, where that is not one.

    A perfect model has slope 1 and intercepts 0. Slope below 1: probabilities too extreme. Intercept in the large above
    0: risks too low. Where only one outcome occurs, slope and intercepts do not exist and are None.
    """
    counts = np.ones(len(event.happened)) if weights is None else weights
    rows = round(float(counts.sum()))
    observed, expected = (float(np.average(values, weights=counts)) for values in (event.happened, event.probability))
    if not 0 < observed < 1:
        return Calibration(rows=rows, observed=observed, expected=expected)
    logit = _logit(event.probability)
    model = LogisticRegression(C=UNPENALISED, max_iter=1000, tol=1e-8)
    fitted = model.fit(logit[:, None], event.happened, sample_weight=counts)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    p = special.expit(intercept + slope * logit)
    design = np.column_stack([np.ones_like(logit), logit])
    spread = np.sqrt(np.diag(np.linalg.pinv(design.T @ (design * (counts * p * (1 - p))[:, None]))))
    return Calibration(
        rows=rows,
        observed=observed,
        expected=expected,
        calibration_slope=wald(slope, float(spread[1])),
        calibration_intercept=wald(intercept, float(spread[0])),
        in_the_large=in_the_large(event, counts),
    )


def in_the_large(event: Event, weights: NDArray[np.float64] | None = None) -> Estimate | None:
    """Return the intercept in the large alone, with its 95 % Wald interval; None where only one outcome occurs."""
    counts = np.ones(len(event.happened)) if weights is None else weights
    if not 0 < np.average(event.happened, weights=counts) < 1:
        return None
    shift = intercept_in_the_large(event, counts)
    q = special.expit(shift + _logit(event.probability))
    return wald(shift, float(1 / np.sqrt((counts * q * (1 - q)).sum())))


def intercept_in_the_large(event: Event, weights: NDArray[np.float64] | None = None) -> float:
    """Return the shift of all log-odds after which as many events are expected as happened; both must occur."""
    counts = np.ones(len(event.happened)) if weights is None else weights
    logit, events = _logit(event.probability), float(counts @ event.happened)
    return float(optimize.brentq(lambda shift: counts @ special.expit(logit + shift) - events, -30, 30))


def recalibrate(event: Event, shift: float) -> Event:
    """Return the event with all log-odds shifted; predictions follow at a probability of one half."""
    p = special.expit(_logit(event.probability) + shift)
    return Event(event.happened, p > 0.5, p)


def net_benefit(event: Event, thresholds: NDArray[np.float64] = THRESHOLDS) -> NetBenefit:
    """Return the net benefit per patient of acting above each threshold: by the model, on all, and on nobody."""
    n, odds = len(event.happened), thresholds / (1 - thresholds)
    acted = event.probability[None, :] >= thresholds[:, None]
    model = (acted & event.happened).sum(axis=1) / n - odds * (acted & ~event.happened).sum(axis=1) / n
    everybody = event.happened.mean() - odds * (1 - event.happened.mean())
    return NetBenefit(
        thresholds=tuple(thresholds.tolist()),
        model=tuple(model.tolist()),
        everybody=tuple(everybody.tolist()),
        nobody=tuple(np.zeros_like(thresholds).tolist()),
    )


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(special.logit(np.clip(probability, EDGE, 1 - EDGE)))
