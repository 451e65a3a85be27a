"""Gates: one bound, a verdict, and words for people."""

import math

import pytest

from healthrisk.spec import Gate, GateResult, Verdict


@pytest.mark.parametrize(
    ("gate", "value", "verdict"),
    [
        ({"metric": "roc_auc", "min": 0.8}, 0.8, "passed"),
        ({"metric": "roc_auc", "min": 0.8}, 0.79, "failed"),
        ({"metric": "brier", "max": 0.2}, 0.2, "passed"),
        ({"metric": "brier", "max": 0.2}, 0.21, "failed"),
        ({"metric": "roc_auc", "min": 0.8}, math.nan, "failed"),
        ({"metric": "brier", "max": 0.2}, math.nan, "failed"),
    ],
)
def test_a_value_passes_its_bound_or_fails(gate: dict[str, float], value: float, verdict: str) -> None:
    assert Gate.model_validate(gate).judge(value) == verdict


def test_a_result_says_figure_bound_and_verdict() -> None:
    gate = Gate.model_validate({"metric": "sensitivity_difference", "max": 0.2})
    result = GateResult(gate=gate, group="Sex", value=0.0784, verdict=Verdict.INCONCLUSIVE)
    assert result.summary == "Difference of sensitivity by sex 0.078 <= 0.2 inconclusive"
    barely = GateResult(gate=gate, value=0.001, low=-0.0004, high=0.003, verdict=Verdict.INCONCLUSIVE)
    assert barely.figure == "0.001 (0.000 to 0.003)"
    assert GateResult(gate=gate, value=None, verdict=Verdict.FAILED).summary.endswith("unknown <= 0.2 failed")


def test_a_result_survives_json() -> None:
    gate = Gate.model_validate({"metric": "roc_auc", "min": 0.78})
    result = GateResult(gate=gate, value=0.952, verdict=Verdict.PASSED)
    written = {"metric": "roc_auc", "min": 0.78, "max": None, "at": None, "column": ""}
    assert result.model_dump(mode="json")["gate"] == written
    assert GateResult.model_validate_json(result.to_json()) == result
