"""Gates on probabilities: worth is worth, too few cases say nothing, and a class that is never found is said."""

import json

import numpy as np
import pytest
from scipy import special

from healthrisk.evidence.gates import Judged, judge
from healthrisk.inference.scorer import risk_levels
from healthrisk.spec import DatasetSpec, GateResult, Verdict

NUMBER = {"name": "x", "label": "X", "kind": "number", "range": [-100, 100]}


def make_spec(classes: int, **more: object) -> DatasetSpec:
    """A spec of one number and so many classes of rising severity."""
    levels: list[object] = [{"name": "Low", "below": 0.2}, {"name": "High"}]
    if classes > 2:
        levels = [{"name": "Low"}, {"name": "High", "any_of": [classes - 1], "at_least": 0.2}]
    listed = [{"name": f"class {k}", "value": k, "raw": [k]} for k in range(classes)]
    target = {"name": "y", "label": "Y", "classes": listed}
    known = {"name": "t", "title": "T", "description": "D", "columns": [NUMBER], "target": target}
    return DatasetSpec.parse(json.dumps({**known, "risk_levels": levels, **more}))


def patients(rows: int, prevalence: float, stretch: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and the true risks with their log-odds stretched."""
    rng = np.random.default_rng(seed)
    logit = special.logit(prevalence) + rng.normal(0, 1.5, rows)
    p = special.expit(stretch * logit)
    return (rng.random(rows) < special.expit(logit)).astype(np.int64), np.column_stack([1 - p, p])


def by_metric(spec: DatasetSpec, y: np.ndarray, p: np.ndarray, x: np.ndarray | None = None) -> dict[str, GateResult]:
    matrix = np.zeros((len(y), 1)) if x is None else x[:, None]
    return {result.gate.metric.name: result for result in judge(Judged(spec, y, p, matrix))}


def test_a_spec_without_gates_asks_of_a_true_model_what_it_has() -> None:
    results = by_metric(make_spec(2), *patients(3000, 0.3))
    assert set(results) == {
        "log_loss_gain",
        "accuracy_gain",
        "calibration_slope",
        "calibration_in_the_large",
        "net_benefit",
        "least_recall",
    }
    assert {result.verdict for result in results.values()} == {Verdict.PASSED}
    slope = results["calibration_slope"]
    assert slope.low is not None
    assert slope.high is not None
    assert slope.low < 1 < slope.high


@pytest.mark.parametrize(("stretch", "slope"), [(0.3, 3.3), (3.0, 0.33)])
def test_probabilities_too_close_or_too_extreme_fail(stretch: float, slope: float) -> None:
    result = by_metric(make_spec(2), *patients(3000, 0.3, stretch))["calibration_slope"]
    assert result.verdict is Verdict.FAILED
    assert result.value == pytest.approx(slope, rel=0.15)


def test_probabilities_that_know_nothing_fail_or_gain_nothing() -> None:
    y, p = patients(3000, 0.3)
    results = by_metric(make_spec(2), y, np.random.default_rng(1).permutation(p))
    assert {results[name].verdict for name in ("log_loss_gain", "net_benefit")} == {Verdict.FAILED}
    shifted = special.expit(special.logit(p[:, 1]) + 1.5)
    results = by_metric(make_spec(2), y, np.column_stack([1 - shifted, shifted]))
    assert results["calibration_in_the_large"].verdict is Verdict.FAILED


def test_few_events_are_inconclusive_however_good_they_look() -> None:
    y = np.repeat([0, 1], [190, 10])
    p = np.column_stack([1 - 0.9 * y - 0.05, 0.9 * y + 0.05])
    results = by_metric(make_spec(2), y, p)
    for name in ("log_loss_gain", "calibration_slope", "calibration_in_the_large", "net_benefit", "least_recall"):
        assert results[name].verdict is Verdict.INCONCLUSIVE
        assert results[name].reason.endswith("10 cases, 20 are needed")
    assert results["accuracy_gain"].verdict is Verdict.PASSED


def test_shares_at_a_threshold_are_those_of_the_table() -> None:
    gates = [{"metric": name, "at": 0.4, "min": 0.5} for name in ("sensitivity", "specificity", "ppv", "npv")]
    y = np.repeat([0, 0, 1, 1], [150, 50, 30, 70])
    event = np.repeat([0.1, 0.6, 0.3, 0.4], [150, 50, 30, 70])
    results = by_metric(make_spec(2, gates=gates), y, np.column_stack([1 - event, event]))
    shares = {"sensitivity": 70 / 100, "specificity": 150 / 200, "ppv": 70 / 120, "npv": 150 / 180}
    assert {name: results[name].value for name in shares} == pytest.approx(shares)
    assert results["sensitivity"].label == "Sensitivity at 0.4"
    # 70 of 120: the interval reaches across one half.
    verdicts = {name: results[name].verdict for name in shares}
    assert verdicts == dict.fromkeys(shares, Verdict.PASSED) | {"ppv": Verdict.INCONCLUSIVE}


def test_a_model_that_never_predicts_a_class_does_not_pass_unsaid() -> None:
    """1,000 rows of three classes, 2 % of the last, and a model that knows frequencies alone."""
    y = np.repeat([0, 1, 2], [580, 400, 20])
    p = np.tile([0.58, 0.40, 0.02], (1000, 1))
    results = by_metric(make_spec(3, gates=[{"metric": "accuracy", "min": 0.5}]), y, p)
    assert list(results) == ["least_recall"]
    assert results["least_recall"].verdict is Verdict.INCONCLUSIVE
    assert results["least_recall"].reason == "never predicted: 'class 1', 'class 2'"
    results = by_metric(make_spec(3), y, p)
    assert Verdict.PASSED not in {result.verdict for result in results.values() if "large" not in result.label}


def test_a_rule_that_does_as_well_is_not_beaten() -> None:
    evidence = {"baselines": [{"name": "rule", "powers": {"x": 1}, "cuts": [0.5]}]}
    spec = make_spec(2, evidence=evidence)
    y, p = patients(2000, 0.4)
    assert by_metric(spec, y, p, x=y.astype(float))["baseline_gain"].verdict is Verdict.FAILED
    assert by_metric(spec, y, p, x=np.zeros(2000))["baseline_gain"].verdict is Verdict.PASSED
    assert by_metric(spec, y, p, x=p[:, 1])["baseline_gain"].verdict is Verdict.INCONCLUSIVE


def test_net_benefit_is_judged_where_people_act() -> None:
    spec = make_spec(2, evidence={"acting_from": [0.1, 0.3]})
    result = by_metric(spec, *patients(3000, 0.2))["net_benefit"]
    assert result.reason.startswith("least at 0.")
    assert 0.1 <= float(result.reason.split()[2].rstrip(",")) <= 0.3


def test_levels_of_many_classes_go_by_probabilities_not_by_the_likeliest() -> None:
    levels = [
        {"name": "Low"},
        {"name": "Moderate", "any_of": [1, 2], "at_least": 0.5},
        {"name": "High", "any_of": [2], "at_least": 0.2},
    ]
    spec = make_spec(3, risk_levels=levels)
    p = np.array([[0.35, 0.33, 0.32], [0.55, 0.3, 0.15], [0.45, 0.4, 0.15], [0.1, 0.7, 0.2]], np.float32)
    assert risk_levels(spec, p) == ["High", "Low", "Moderate", "High"]
