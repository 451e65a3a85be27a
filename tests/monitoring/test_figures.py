"""Figures out of 50 bins, beside those of the rows."""

import numpy as np
import pytest

from healthrisk.evidence import calibration
from healthrisk.evidence.event import Event
from healthrisk.monitoring.figures import area, measure
from healthrisk.receipts import probability_bins
from healthrisk.receipts.validation_bins import EDGE, MIDDLES
from healthrisk.spec.metric import ROC_AUC
from healthrisk.training import bootstrap, metrics
from tests.support.unseen import in_bins


def test_figures_lie_within_a_two_hundredth_of_those_of_the_rows(
    unseen: list[tuple[str, np.ndarray, np.ndarray]],
) -> None:
    for _, chance, came in unseen:
        acting = (0.3, 0.7)
        live = measure(in_bins(chance, came, (chance, came)), acting, 20)
        labels, both = came.astype(np.int64), np.column_stack([1 - chance, chance])
        assert live.roc_auc.mean == pytest.approx(metrics.roc_auc(labels, both), abs=0.005)
        assert live.brier.mean == pytest.approx(metrics.brier(labels, both), abs=0.005)
        assert live.calibration.observed == pytest.approx(came.mean(), abs=1e-12)
        assert live.calibration.expected == pytest.approx(chance.mean(), abs=0.005)
        for point in live.operating:
            assert point.sensitivity.mean == pytest.approx((chance[came] >= point.at).mean(), abs=0.005)
            assert point.specificity.mean == pytest.approx((chance[~came] < point.at).mean(), abs=0.005)


def test_calibration_lies_within_a_two_hundredth_of_that_of_the_rows(
    unseen: list[tuple[str, np.ndarray, np.ndarray]],
) -> None:
    for _, chance, came in unseen:
        live = measure(in_bins(chance, came, (chance, came)), (), 20).calibration
        kept = np.clip(chance, EDGE, 1 - EDGE)
        rows = calibration.measure(Event(came, kept > 0.5, kept))
        assert live.calibration_slope.mean == pytest.approx(rows.calibration_slope.mean, abs=0.005)
        assert live.calibration_intercept.mean == pytest.approx(rows.calibration_intercept.mean, abs=0.005)
        assert live.in_the_large.mean == pytest.approx(rows.in_the_large.mean, abs=0.005)


def test_weights_are_as_good_as_rows(unseen: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    _, chance, came = unseen[0]
    bins = in_bins(chance, came)
    counted = np.concatenate([bins.events, bins.others])
    event = Event(np.repeat([True, False], probability_bins.BINS), np.tile(MIDDLES > 0.5, 2), np.tile(MIDDLES, 2))
    rows = Event(
        *(np.repeat(values, counted.astype(int)) for values in (event.happened, event.predicted, event.probability))
    )
    weighted, plain = calibration.measure(event, counted), calibration.measure(rows)
    assert weighted.rows == plain.rows == len(chance)
    for name in ("calibration_slope", "calibration_intercept", "in_the_large"):
        one, other = getattr(weighted, name), getattr(plain, name)
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high), abs=1e-4)


def test_the_interval_of_the_area_is_the_bootstrap_one() -> None:
    rng = np.random.default_rng(0)
    chance = rng.beta(1.2, 1.8, 600)
    came = rng.random(600) < chance
    own = area(in_bins(chance, came))
    rows = bootstrap.estimate(ROC_AUC, came.astype(np.int64), np.column_stack([1 - chance, chance]), 0)
    assert (own.mean, own.low, own.high) == pytest.approx((rows.mean, rows.low, rows.high), abs=0.008)


def test_what_cannot_be_computed_is_none() -> None:
    nobody = in_bins(np.empty(0), np.empty(0, dtype=bool))
    empty = measure(nobody, (0.5,), 20)
    assert (empty.rows, empty.enough, empty.roc_auc, empty.brier, empty.calibration) == (0, False, None, None, None)
    healthy = measure(in_bins(np.full(30, 0.2), np.zeros(30, dtype=bool)), (0.5,), 20)
    assert (healthy.roc_auc, healthy.calibration, healthy.operating[0].sensitivity) == (None, None, None)
    assert healthy.operating[0].specificity.mean == 1
    assert not healthy.enough


def test_perfect_order_has_an_interval_too() -> None:
    own = area(in_bins(np.repeat([0.1, 0.9], 30), np.repeat([False, True], 30)))
    assert own.mean == own.high == 1
    assert 0.9 < own.low <= 1
