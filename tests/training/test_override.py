"""A failed gate is overridden with a reason that says something, and by whom; nothing else is."""

import pytest

from healthrisk import spec as specs
from healthrisk.errors import ConfigError
from healthrisk.spec import Gate, GateResult, Verdict
from healthrisk.spec.metric import ROC_AUC
from healthrisk.training.decision import Decision
from healthrisk.training.override import LEAST, MOST, override_gates, read_reason
from tests.support import sample_bundle

REASON = "the ethics board allows it, protocol 7"


def decided(verdict: Verdict) -> Decision:
    made = sample_bundle.decision(specs.load("heart-disease"), "random_forest", 0.8)
    gate = GateResult(gate=Gate(metric=ROC_AUC, min=0.9), value=0.8, verdict=verdict)
    return made.model_copy(update={"gates": (gate,)})


def test_a_failed_gate_is_overridden_by_whoever_says_why() -> None:
    failed = decided(Verdict.FAILED)
    assert not failed.may_register
    overridden = override_gates(failed, f"  {REASON}\n", "ward@here")
    assert overridden.may_register
    assert not overridden.passed
    assert overridden.override is not None
    assert (overridden.override.reason, overridden.override.by) == (REASON, "ward@here")
    assert overridden.override.gates == ("ROC AUC 0.800 >= 0.9 failed",)


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.INCONCLUSIVE])
def test_where_no_gate_failed_there_is_nothing_to_override(verdict: Verdict) -> None:
    assert override_gates(decided(verdict), REASON, "ward@here").override is None


def test_without_a_reason_nothing_is_overridden() -> None:
    assert not override_gates(decided(Verdict.FAILED), "", "ward@here").may_register


@pytest.mark.parametrize("reason", ["", "   ", "ok", "because", "a" * LEAST, "a b" + "c" * MOST])
def test_a_reason_that_says_nothing_is_refused(reason: str) -> None:
    with pytest.raises(ConfigError, match=r"^--override-gate '.*': say why in 12 to 500 characters"):
        read_reason(reason)
