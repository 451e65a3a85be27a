"""Groups, their rates against scikit-learn's, and a gate that knows when it knows too little."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import recall_score

from healthrisk import spec as specs
from healthrisk.evidence import event, fairness
from healthrisk.evidence.event import Event
from healthrisk.spec import DatasetSpec, Gate
from healthrisk.spec.metric import GROUP_CALIBRATION, SENSITIVITY_DIFFERENCE

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


def invented(spec: DatasetSpec, cases: int, rates: tuple[float, float]) -> tuple[np.ndarray, Event]:
    """Two sexes with `cases` diseased and as many healthy each, of whom these shares are found."""
    matrix = np.full((4 * cases, len(spec.features)), 50.0)
    sex = np.repeat([0.0, 1.0], 2 * cases)
    matrix[:, spec.features.index("sex")] = sex
    happened = np.tile(np.repeat([True, False], cases), 2)
    rank = np.tile(np.arange(cases), 4) / cases
    predicted = happened & (rank < np.where(sex == 1, rates[1], rates[0]))
    return matrix, Event(happened, predicted, np.where(predicted, 0.8, 0.2))


@pytest.mark.parametrize(
    ("cases", "rates", "verdict"),
    [
        (2000, (0.8, 0.8), "passed"),
        (2000, (0.8, 0.4), "failed"),
        (30, (0.9, 0.7), "inconclusive"),
        (5, (1, 0), "inconclusive"),
    ],
)
@pytest.mark.slow
def test_the_gate_passes_fails_or_is_inconclusive(cases: int, rates: tuple[float, float], verdict: str) -> None:
    spec = specs.load("heart-disease")
    by_sex, _ = fairness.audit(spec, *invented(spec, cases, rates), seed=0)
    assert by_sex.gate.verdict == verdict
    widest = by_sex.difference["true_positive_rate"]
    assert widest.mean == pytest.approx(abs(rates[0] - rates[1]))
    assert widest.low <= widest.mean <= widest.high
    if cases == 5:
        assert "fewer than two groups have 20 cases" in by_sex.gate.reason


def test_without_a_bound_groups_are_shown_and_not_judged() -> None:
    spec = specs.load("heart-disease")
    free = spec.model_copy(update={"gates": [gate for gate in spec.gates if gate.metric != SENSITIVITY_DIFFERENCE]})
    by_sex, _ = fairness.audit(free, *invented(spec, 2000, (0.8, 0.2)), seed=0)
    assert by_sex.gate is None
    assert by_sex.widest.mean == pytest.approx(0.6)


def test_groups_cover_every_row_and_rates_are_scikit_learns(heart: Heart) -> None:
    spec, matrix, y = heart
    p = np.clip(0.5 + 0.3 * (y - 0.5) + np.random.default_rng(0).normal(0, 0.2, len(y)), 0, 1)
    judged = event.binarize(spec, y, np.column_stack([1 - p, p]))
    by_sex, by_age = fairness.audit(spec, matrix, judged, seed=0)
    assert [row.group for row in by_sex.groups] == ["female", "male"]
    assert [row.group for row in by_age.groups] == ["below 50", "50 to below 60", "60 or more"]
    for column in (by_sex, by_age):
        assert sum(row.rows for row in column.groups) == 303
        assert sum(row.cases for row in column.groups) == 139
    women = matrix[:, 1] == 0
    female = by_sex.groups[0]
    assert (female.rows, female.cases) == (97, 25)
    rate = female.rates["true_positive_rate"]
    assert rate.mean == recall_score(y[women], judged.predicted[women])
    assert rate.low < rate.mean < rate.high
    assert female.rates["false_negative_rate"].mean == pytest.approx(1 - rate.mean)


def test_a_group_without_cases_has_no_true_positive_rate(heart: Heart) -> None:
    spec, matrix, _ = heart
    happened = matrix[:, 1] == 1
    by_sex = fairness.audit(spec, matrix, Event(happened, happened, happened * 0.8 + 0.1), seed=0)[0]
    assert by_sex.groups[0].rates["true_positive_rate"] is None
    assert by_sex.groups[0].roc_auc is None
    # A rate that one group lacks is no rate of 0: there is nothing to compare.
    assert by_sex.difference["true_positive_rate"] is by_sex.ratio["true_positive_rate"] is None
    assert by_sex.difference["selection_rate"].mean == 1


def test_with_many_classes_the_event_is_the_last_risk_level() -> None:
    spec = specs.load("obesity")
    p = np.eye(7)
    judged = event.binarize(spec, np.arange(7), p)
    assert judged.happened.tolist() == judged.predicted.tolist() == [False] * 4 + [True] * 3
    assert event.name(spec) == "obesity I or obesity II or obesity III"


@pytest.mark.parametrize(("men_found", "verdict"), [(0.8, "passed"), (0.2, "failed")])
def test_a_class_that_is_nobodys_likeliest_is_called_where_its_level_begins(men_found: float, verdict: str) -> None:
    spec = specs.load("hospital")
    matrix, events = invented(spec, 500, (0.8, men_found))
    severe = np.where(events.predicted, 0.06, 0.02)
    p = np.column_stack([0.9 - severe, np.full(len(severe), 0.1), severe])
    by_sex = fairness.audit(spec, matrix, event.binarize(spec, np.where(events.happened, 2, 0), p), seed=0)[0]
    assert by_sex.widest.mean == pytest.approx(0.8 - men_found)
    assert by_sex.groups[0].rates["true_positive_rate"].mean == 0.8
    assert by_sex.gate.verdict == verdict


ALIKE = Gate(metric=SENSITIVITY_DIFFERENCE, max=0.2)
MEANT = Gate(metric=GROUP_CALIBRATION, min=-0.7, max=0.7)


def ageing(spec: DatasetSpec, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a matrix, whether the event happened [rows], and its true log-odds [rows], which rise with age."""
    rng = np.random.default_rng(7)
    matrix = np.full((rows, len(spec.features)), 50.0)
    matrix[:, spec.features.index("sex")] = np.arange(rows) % 2
    matrix[:, spec.features.index("age")] = rng.integers(18, 92, rows)
    logit = -4.5 + 0.04 * (matrix[:, spec.features.index("age")] - 60) + 1.5 * rng.standard_normal(rows)
    return matrix, rng.random(rows) < expit(logit), logit


def by_age(spec: DatasetSpec, gates: tuple[Gate, ...], logit: np.ndarray, rows: int) -> fairness.GroupComparison:
    matrix, happened, _ = ageing(spec, rows)
    called = Event(happened, expit(logit) >= spec.event_from, expit(logit))
    return fairness.audit(spec.model_copy(update={"gates": gates}), matrix, called, seed=0)[1]


@pytest.mark.slow
def test_even_the_true_risks_do_not_find_events_alike_where_risk_rises_with_age() -> None:
    spec, rows = specs.load("hospital"), 40_000
    true = by_age(spec, (ALIKE, MEANT), ageing(spec, rows)[2], rows)
    assert (true.gate.verdict, true.calibration_gate.verdict) == ("failed", "passed")
    # Called by a threshold for each group, events could be found alike; the risks would mean the same.
    assert true.widest.low > 0.2


@pytest.mark.parametrize(("old_people_shifted", "verdict"), [(0.0, "passed"), (-1.2, "failed"), (1.2, "failed")])
@pytest.mark.slow
def test_risks_that_mean_something_else_in_a_group_fail(old_people_shifted: float, verdict: str) -> None:
    spec, rows = specs.load("hospital"), 40_000
    matrix, _, logit = ageing(spec, rows)
    said = logit + old_people_shifted * (matrix[:, spec.features.index("age")] >= 80)
    gate = by_age(spec, (MEANT,), said, rows).calibration_gate
    assert gate.verdict == verdict
    assert gate.group == "Age"
    if old_people_shifted:
        assert gate.reason == "farthest: 80 or more"
        assert gate.value == pytest.approx(-old_people_shifted, abs=0.15)
        assert gate.low < gate.value < gate.high


def test_groups_with_few_events_are_named_and_not_judged() -> None:
    spec, rows = specs.load("hospital"), 3000
    _, _, logit = ageing(spec, rows)
    some = by_age(spec, (MEANT,), logit, rows)
    few = [row.group for row in some.groups if row.cases < 20]
    assert 0 < len(few) < len(some.groups)
    assert some.calibration_gate.reason.endswith(f"; fewer than 20 events or others: {', '.join(few)}")
    nobody = by_age(spec, (MEANT,), logit[:100], 100).calibration_gate
    assert (nobody.value, nobody.verdict) == (None, "inconclusive")


def test_a_gate_of_one_column_judges_that_one_alone() -> None:
    spec = specs.load("hospital")
    matrix, happened, logit = ageing(spec, 5000)
    called = Event(happened, expit(logit) >= spec.event_from, expit(logit))
    by_sex, age = fairness.audit(spec, matrix, called, seed=0)
    assert (by_sex.gate is None, age.gate is None) == (False, True)
    assert by_sex.calibration_gate
    assert age.calibration_gate
    assert "the spec sets no bound" in age.reason
