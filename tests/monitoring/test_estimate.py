"""Performance estimated without outcomes, beside the true one."""

import numpy as np
import pytest

from healthrisk.monitoring.estimate import estimate
from healthrisk.monitoring.figures import measure
from healthrisk.receipts import probability_bins
from tests.support.unseen import in_bins

Unseen = list[tuple[str, np.ndarray, np.ndarray]]
calibrated = pytest.mark.parametrize(
    "unseen",
    [("heart-disease", "logistic_regression"), ("breast-cancer", "logistic_regression")],
    indirect=True,
    ids="-".join,
)
SPLITS = 40


def halves(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return random halves of rows: those validated, and those served."""
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(rows) for _ in range(SPLITS)]
    return [(order[: rows // 2], order[rows // 2 :]) for order in drawn]


def compare(chance: np.ndarray, came: np.ndarray, known: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Return ROC AUC, Brier score and sensitivity: as estimated of the live rows [0], and as they are [1]."""
    rows = chance[known], came[known]
    validated, served = in_bins(*rows, rows), in_bins(chance[live], came[live], rows)
    estimated, true = estimate(validated, served.rows, (0.5,), 1), measure(served, (0.5,), 1)
    assert estimated.rows == true.rows == len(live)
    pairs = ((one.roc_auc.mean, one.brier.mean, one.operating[0].sensitivity.mean) for one in (estimated, true))
    return np.array(list(pairs))


@calibrated
def test_where_nothing_has_changed_the_estimate_lies_near_the_true_figure(unseen: Unseen) -> None:
    for _, chance, came in unseen[:1]:
        compared = np.array([compare(chance, came, *half) for half in halves(len(chance))])
        estimated, true = compared.mean(axis=0)
        assert estimated == pytest.approx(true, abs=0.02)


@calibrated
def test_it_follows_patients_who_are_harder_to_tell_apart(unseen: Unseen) -> None:
    _, chance, came = unseen[0]
    # Whose risk is near to that of half of all patients comes more often than before.
    near = 1 / (0.02 + np.abs(chance - np.median(chance)))
    rng, compared = np.random.default_rng(1), []
    for known, live in halves(len(chance)):
        drawn = rng.choice(live, len(live), p=near[live] / near[live].sum())
        before, after = compare(chance, came, known, live), compare(chance, came, known, drawn)
        compared.append([before[1, 0], *after[:, 0]])
    before_area, estimated, true = np.mean(compared, axis=0)
    assert abs(estimated - true) < 0.5 * abs(before_area - true), "it tells less than to expect no change"
    assert estimated == pytest.approx(true, abs=0.03)


@calibrated
def test_it_is_blind_to_concept_drift(unseen: Unseen) -> None:
    """Of the same patients four in ten have another outcome than such patients had."""
    _, chance, came = unseen[0]
    rng = np.random.default_rng(2)
    known, live = halves(len(chance))[0]
    drifted = came.copy()
    other = live[rng.random(len(live)) < 0.4]
    drifted[other] = rng.permutation(came[other])
    before, after = compare(chance, came, known, live), compare(chance, drifted, known, live)
    assert after[1, 0] < before[1, 0] - 0.1
    assert after[0].tolist() == before[0].tolist()


def test_too_few_are_no_estimate() -> None:
    # Of a hundred at .07 seven have the event, at .93 all but seven.
    chance = np.repeat([0.07, 0.93], 100)
    bins = in_bins(chance, np.tile(np.arange(100), 2) < np.repeat([7, 93], 100))
    assert estimate(bins, np.zeros(probability_bins.BINS), (), 0) is None
    # A hundred alike, whom nothing tells apart.
    alike = 100.0 * (np.arange(probability_bins.BINS) == 3)
    assert estimate(bins, alike, (), 20) is None
    alone = estimate(bins, alike, (), 5)
    assert (alone.rows, alone.roc_auc.mean) == (100, 0.5)
    assert alone.events == pytest.approx(7, abs=1)
