"""All evidence together on a real winner, and gates that a poisoned training set does not pass."""

import json
from typing import Any

import numpy as np
import pytest

from healthrisk import preprocess, sources, train
from healthrisk.evaluate import evaluate
from healthrisk.evidence import gather, robustness
from healthrisk.spec import DatasetSpec

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


def judged(heart: Heart, level: Any, flips: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train one family on a table with some labels flipped; return the judged decision and the evidence."""
    spec, matrix, y = heart
    small = spec.model_copy(update={"search": {"logistic_regression": {"C": (0.03,)}}})
    y = robustness.flip(y, np.ones(len(y), dtype=bool), flips, 2, np.random.default_rng(5))
    held_out = preprocess.split(y, 0)
    parts = (matrix[~held_out], y[~held_out]), (matrix[held_out], y[held_out])
    fitted, _ = preprocess.fit(small, parts[0][0])
    models = [train.train(small, "logistic_regression", fitted, parts[0], 0)]
    decision = evaluate(small, models, *parts, 0)
    found = gather.gather(small, models, decision["winner"], *parts, 0, level)
    return gather.judge(small, decision, found), found


@pytest.fixture(scope="module")
def full(heart: Heart) -> tuple[dict[str, Any], dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patched:
        # One repeat says as well that everything is there, and nobody waits for sites that are not.
        for module, name in ((gather, "STRESS_REPEATS"), (gather, "NESTED_REPEATS"), (sources, "ATTEMPTS")):
            patched.setattr(module, name, 1)
        return judged(heart, "full")


def test_an_honest_table_passes(full: tuple[dict[str, Any], dict[str, Any]]) -> None:
    decision, found = full
    assert decision["passed"], decision["gates"]
    json.dumps(found, allow_nan=False)
    verdicts = {gate["metric"]: gate.get("verdict") for gate in decision["gates"]}
    assert verdicts["sensitivity_difference_by_sex"] == "abstains"
    assert "suspect_labels" in verdicts


@pytest.mark.parametrize("flips", [0.2, 0.3])
def test_a_poisoned_training_set_fails_the_gate(heart: Heart, flips: float) -> None:
    decision, _ = judged(heart, "quick", flips)
    assert not decision["passed"]
    missed = {gate["metric"] for gate in decision["gates"] if not gate["passed"]}
    assert "suspect_labels" in missed


def test_full_evidence_holds_what_quick_does_and_more(
    heart: Heart, full: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    decision, quick = judged(heart, "quick")
    assert set(full[1]) - set(quick) == {"stress", "detection", "nested"}
    assert decision["gates"] == full[0]["gates"]
    for same in ("calibration", "fairness", "explanation", "labels", "net_benefit"):
        assert quick[same] == full[1][same]


def test_the_explained_patient_adds_up(full: tuple[dict[str, Any], dict[str, Any]]) -> None:
    example = full[1]["explanation"]["example"]
    total = example["base"] + sum(row["value"] for row in example["values"])
    assert total == pytest.approx(example["probability"], abs=1e-6)
    assert len(full[1]["explanation"]["overall"]) == 13
    assert full[1]["explanation"]["rows"] == 60
