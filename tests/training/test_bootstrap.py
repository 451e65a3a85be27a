"""Bootstrap intervals: the very values of the metric on every resample, and the coverage that is promised."""

import numpy as np
import pytest

from healthrisk.spec.metric import ACCURACY, BRIER, LOG_LOSS, ROC_AUC, Metric
from healthrisk.training import bootstrap, metrics
from healthrisk.training.intervals import CONFIDENCE


def drawn_again(which: Metric, y: np.ndarray, p: np.ndarray, seed: int) -> tuple[float, ...]:
    """The interval by computing the metric of each resample from its rows."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == k) for k in np.unique(y)]
    values = []
    for _ in range(bootstrap.RESAMPLES):
        rows = np.concatenate([rng.choice(group, len(group)) for group in groups])
        values.append(metrics.score(which, y[rows], p[rows]))
    return tuple(np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist())


@pytest.mark.parametrize("which", [ACCURACY, ROC_AUC, LOG_LOSS, BRIER], ids=lambda metric: metric.name)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_resample_has_the_value_of_the_metric(which: Metric, classes: int) -> None:
    rng = np.random.default_rng(classes)
    # Rounded, so that scores are tied, and some are 0 and 1.
    p = np.round(rng.dirichlet(np.full(classes, 0.5), 150), 2)
    p[:, -1] = 1 - p[:, :-1].sum(axis=1)
    p = np.clip(p, 0, 1)
    y = (rng.random((150, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    measured = bootstrap.interval(which, y, p, 5)
    assert (measured.low, measured.high) == drawn_again(which, y, p, 5)


@pytest.mark.slow
def test_the_bootstrap_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(60):
        y = rng.integers(0, 2, 100)
        right = rng.random(100) < 0.8
        p = np.where(right, y, 1 - y).astype(float)
        interval = bootstrap.interval(ACCURACY, y, np.column_stack([1 - p, p]), trial)
        covered += interval.low <= 0.8 <= interval.high
    assert covered >= 51
