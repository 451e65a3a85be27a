"""The figures: against scikit-learn's own, published formulas, and known coverage."""

import numpy as np
import pytest
from sklearn import metrics as sk

from healthrisk import spec as specs
from healthrisk.training import intervals, metrics


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    p = np.clip(0.3 * y + rng.uniform(0, 0.7, 200), 0, 1)
    return y, np.column_stack([1 - p, p])


def test_two_class_scores_are_scikit_learns(scored: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = scored
    measured = metrics.measure(specs.load("heart-disease"), y, p)
    assert measured.scores["brier"] == pytest.approx(sk.brier_score_loss(y, p[:, 1]))
    assert measured.scores["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p[:, 1]))
    assert measured.scores["log_loss"] == pytest.approx(sk.log_loss(y, p))
    assert measured.scores["f1"] == pytest.approx(sk.f1_score(y, p.argmax(1)))
    assert np.sum(measured.confusion) == 200


def test_many_class_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(7), 500)
    y = np.array([rng.choice(7, p=row) for row in p])
    measured = metrics.measure(specs.load("obesity"), y, p)
    assert measured.scores["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    assert measured.scores["f1_weighted"] == pytest.approx(sk.f1_score(y, p.argmax(1), average="weighted"))
    assert len(measured.by_class) == 7


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_have_scikit_learns_digits(classes: int) -> None:
    """Also where a class does not occur, or is never predicted."""
    rng = np.random.default_rng(classes)
    for rows in (5, 61, 303):
        p = rng.dirichlet(np.full(classes, 0.3), rows)
        y = rng.integers(0, classes, rows)
        scores = metrics.score_all(y, p)
        assert scores["f1_macro"] == sk.f1_score(y, p.argmax(1), average="macro", zero_division=0.0)
        assert scores["log_loss"] == sk.log_loss(y, p, labels=np.arange(classes))
        assert scores["accuracy"] == sk.accuracy_score(y, p.argmax(1))


def test_losses_of_rows_have_scikit_learns_mean(scored: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = scored
    # What a forest may say, right and wrong.
    p[:2], p[2] = np.eye(2)[y[:2]], np.eye(2)[1 - y[2]]
    losses = metrics.row_losses(y, p)
    assert losses.mean() == sk.log_loss(y, p)
    assert 0 < losses[0] < 1e-15
    assert losses[2] > 36
    # What is served has half as many digits.
    served = p.astype(np.float32)
    assert metrics.row_losses(y, served).tolist() == metrics.row_losses(y, served.astype(np.float64)).tolist()


def test_roc_points_are_finite(scored: tuple[np.ndarray, np.ndarray]) -> None:
    points = metrics.roc_points(*scored)
    assert all(np.isfinite(values).all() for values in (points.fpr, points.tpr, points.thresholds))
    assert (points.fpr[0], points.tpr[-1]) == (0, 1)


def test_the_resampled_interval_follows_nadeau_and_bengio() -> None:
    scores = np.array([0.8, 0.85, 0.9, 0.95, 0.75])
    interval = intervals.resampled(scores, folds=5)
    assert interval.standard_error == pytest.approx(np.sqrt((1 / 5 + 1 / 4) * scores.var(ddof=1)))
    assert interval.low < interval.mean < interval.high
    assert interval.mean - interval.low == pytest.approx(2.776445 * interval.standard_error, rel=1e-5)


def test_calibration_groups_hold_every_row(scored: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = scored
    points = metrics.calibration_points(y == 1, p[:, 1])
    assert sum(points.rows) == 200
    assert list(points.predicted) == sorted(points.predicted)
