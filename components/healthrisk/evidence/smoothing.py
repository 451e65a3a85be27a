"""Calibration as a smooth curve with its band: a logistic fit of the outcome on a natural spline of the log-odds.

Knots and the mean error (ICI, E90): Austin and Steyerberg, Stat Med 38, 2019; restricted cubic splines: Harrell,
Regression Modeling Strategies, 2015, section 2.4.5.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from healthrisk.evidence.calibration import EDGE, UNPENALISED
from healthrisk.evidence.clinical_documents import SmoothCalibration
from healthrisk.evidence.event import Event

KNOTS = (0.05, 0.35, 0.65, 0.95)
POINTS = 60
Values = NDArray[np.float64]


def smooth(name: str, event: Event) -> SmoothCalibration | None:
    """Return the curve between the 2.5th and the 97.5th percentile of predictions; None where one outcome is absent."""
    if not 0 < event.happened.mean() < 1:
        return None
    logit = special.logit(np.clip(event.probability, EDGE, 1 - EDGE))
    knots = np.unique(np.quantile(logit, KNOTS))
    design = _spline(logit, knots)
    scale = np.maximum(design.std(axis=0), 1e-12)
    fitted = LogisticRegression(C=UNPENALISED, max_iter=1000).fit(design / scale, event.happened)
    low, high = np.quantile(event.probability, [0.025, 0.975])
    grid = np.linspace(low, high, POINTS)
    at = np.column_stack([np.ones(POINTS), _spline(special.logit(np.clip(grid, EDGE, 1 - EDGE)), knots) / scale])
    own = np.column_stack([np.ones(len(logit)), design / scale])
    coefficients = np.concatenate([fitted.intercept_, fitted.coef_[0]])
    p = special.expit(own @ coefficients)
    spread = np.linalg.pinv(own.T @ (own * (p * (1 - p))[:, None]))
    middle = at @ coefficients
    margin = stats.norm.ppf(0.975) * np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", at, spread, at), 0))
    errors = np.abs(p - event.probability)
    return SmoothCalibration(
        name=name,
        predicted=tuple(grid.tolist()),
        observed=tuple(special.expit(middle).tolist()),
        low=tuple(special.expit(middle - margin).tolist()),
        high=tuple(special.expit(middle + margin).tolist()),
        mean_error=float(errors.mean()),
        error_90=float(np.quantile(errors, 0.9)),
    )


def _spline(x: Values, knots: Values) -> Values:
    """Return the basis [rows, knots - 1] of a cubic spline that is linear beyond its outer knots."""
    if len(knots) < 3:
        return x[:, None]
    last, before = knots[-1], knots[-2]

    def cubed(values: Values) -> Values:
        return np.asarray(np.maximum(values, 0) ** 3)

    bends = [
        (
            cubed(x - knot)
            - cubed(x - before) * (last - knot) / (last - before)
            + cubed(x - last) * (before - knot) / (last - before)
        )
        / (last - knots[0]) ** 2
        for knot in knots[:-2]
    ]
    return np.column_stack([x, *bends])
