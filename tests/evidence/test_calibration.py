"""Calibration and net benefit, on probabilities whose faults are known."""

import numpy as np
import pytest
from scipy import special

from healthrisk.evidence import calibration
from healthrisk.evidence.event import Event


@pytest.fixture
def true_risk() -> tuple[np.ndarray, np.ndarray]:
    """Log-odds and outcomes of 20,000 patients."""
    rng = np.random.default_rng(0)
    logit = rng.normal(-0.5, 1.5, 20_000)
    return logit, rng.random(20_000) < special.expit(logit)


def stated(logit: np.ndarray, happened: np.ndarray) -> Event:
    p = special.expit(logit)
    return Event(happened, p > 0.5, p)


def test_true_probabilities_have_slope_one_and_intercepts_zero(true_risk: tuple[np.ndarray, np.ndarray]) -> None:
    measured = calibration.measure(stated(*true_risk))
    for name, ideal in (("calibration_slope", 1), ("calibration_intercept", 0), ("in_the_large", 0)):
        assert getattr(measured, name).low < ideal < getattr(measured, name).high, name
        assert getattr(measured, name).high - getattr(measured, name).low < 0.15


@pytest.mark.parametrize(("stretch", "shift"), [(2.0, 0.0), (1.0, 0.7), (0.5, -0.4)])
def test_the_faults_put_in_are_found(true_risk: tuple[np.ndarray, np.ndarray], stretch: float, shift: float) -> None:
    logit, happened = true_risk
    measured = calibration.measure(stated(stretch * logit + shift, happened))
    assert measured.calibration_slope.mean == pytest.approx(1 / stretch, abs=0.06)
    assert measured.calibration_intercept.mean == pytest.approx(-shift / stretch, abs=0.06)


def test_recalibration_in_the_large_makes_expected_equal_observed(true_risk: tuple[np.ndarray, np.ndarray]) -> None:
    logit, happened = true_risk
    event = stated(logit + 1.2, happened)
    better = calibration.recalibrate(event, calibration.intercept_in_the_large(event))
    assert better.probability.mean() == pytest.approx(happened.mean(), abs=1e-6)


def test_the_intercept_in_the_large_alone_is_that_of_all(true_risk: tuple[np.ndarray, np.ndarray]) -> None:
    event = stated(*true_risk)
    weights = np.random.default_rng(1).random(len(event.happened))
    for counts in (None, weights):
        assert calibration.in_the_large(event, counts) == calibration.measure(event, counts).in_the_large


def test_one_outcome_alone_has_no_slope() -> None:
    one = Event(np.ones(9, bool), np.ones(9, bool), np.full(9, 0.8))
    assert calibration.in_the_large(one) is None
    measured = calibration.measure(one)
    assert (measured.calibration_slope, measured.in_the_large, measured.observed) == (None, None, 1.0)


def test_net_benefit_is_that_of_the_formula() -> None:
    happened = np.array([True, True, False, False, False])
    event = Event(happened, happened, np.array([0.9, 0.4, 0.6, 0.2, 0.1]))
    benefit = calibration.net_benefit(event, np.array([0.25, 0.5]))
    assert benefit.model == pytest.approx([2 / 5 - (1 / 5) / 3, 1 / 5 - 1 / 5])
    assert benefit.everybody == pytest.approx([2 / 5 - (3 / 5) / 3, 2 / 5 - 3 / 5])
    assert benefit.nobody == (0, 0)
