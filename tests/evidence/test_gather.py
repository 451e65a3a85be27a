"""All evidence together on a real winner, and gates that a poisoned training set does not pass."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from healthrisk import spec as specs
from healthrisk.data import encoding, hospital
from healthrisk.data.ingest import IngestRecord, ingest
from healthrisk.evidence import gather, robustness
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.spec import DatasetSpec, Verdict
from healthrisk.spec.metric import SUSPECT_LABELS
from healthrisk.spec.study import Study
from healthrisk.training import preprocessing, split, train
from healthrisk.training.decision import Decision
from healthrisk.training.evaluate import evaluate
from tests.support.report_text import text_of

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]
RECORD: dict[str, Any] = {"source": "uci", "uri": "https://host/table", "sha256": "0" * 64, "rows": 1, "columns": ()}

pytestmark = pytest.mark.slow


def judged(heart: Heart, level: Any, flips: float = 0.0, penalty: float = 0.3) -> tuple[Decision, EvidenceRecord]:
    """Train one family on a table with some labels flipped; return the judged decision and the evidence."""
    spec, matrix, y = heart
    small = spec if spec.search else spec.model_copy(update={"search": {"logistic_regression": {"C": (penalty,)}}})
    y = robustness.flip(y, np.ones(len(y), dtype=bool), flips, 2, np.random.default_rng(5))
    held_out = preprocessing.split(y, 0)
    parts = (matrix[~held_out], y[~held_out]), (matrix[held_out], y[held_out])
    fitted, _ = preprocessing.fit(small, parts[0][0])
    models = [train.train(small, "logistic_regression", fitted, parts[0], 0)]
    decision = evaluate(small, models, *parts, 0)
    record = gather.gather(small, models, decision.winner, *parts, 0, level)
    return gather.add_gates(small, decision, record), record


@pytest.fixture(scope="module")
def full(heart: Heart) -> tuple[Decision, EvidenceRecord]:
    with pytest.MonkeyPatch.context() as patched:
        # One repeat says as well that everything is there, and nobody waits for sites that are not.
        for module, name in ((gather, "STRESS_REPEATS"), (gather, "NESTED_REPEATS")):
            patched.setattr(module, name, 1)
        patched.setenv("HEALTHRISK_RETRY_SECONDS", "0")
        return judged(heart, "full")


@pytest.fixture(scope="module")
def quick(heart: Heart) -> tuple[Decision, EvidenceRecord]:
    return judged(heart, "quick")


def test_an_honest_table_passes(full: tuple[Decision, EvidenceRecord]) -> None:
    decision, record = full
    assert decision.passed, decision.gates
    assert EvidenceRecord.model_validate_json(record.to_json()) == record
    verdicts = {gate.label: gate.verdict for gate in decision.gates}
    assert verdicts["Difference of sensitivity by sex"] == "inconclusive"
    assert verdicts["Training labels that look wrong"] == "passed"


@pytest.mark.parametrize("flips", [0.2, 0.3])
def test_a_poisoned_training_set_fails_the_gate(heart: Heart, flips: float) -> None:
    decision, _ = judged(heart, "quick", flips)
    assert not decision.passed
    assert SUSPECT_LABELS in {gate.gate.metric for gate in decision.gates if gate.verdict is Verdict.FAILED}


def test_a_penalty_that_ranks_well_and_says_too_little_fails(heart: Heart) -> None:
    """C = 0.03 has an area under the curve of 0.90, and risks that should lie twice as far apart."""
    decision, _ = judged(heart, "quick", penalty=0.03)
    verdicts = {gate.gate.metric.name: gate.verdict for gate in decision.gates}
    assert (verdicts["roc_auc"], verdicts["calibration_slope"]) == ("passed", "failed")


def test_what_recalibration_makes_of_it_passes(heart: Heart) -> None:
    spec, *rows = heart
    recalibrated = spec.model_copy(update={"selection": spec.selection.model_copy(update={"recalibration": "platt"})})
    decision, record = judged((recalibrated, *rows), "quick", penalty=0.03)
    slope = record.calibration.calibration_slope
    assert slope.low < 1 < slope.high
    verdicts = {gate.gate.metric.name: gate.verdict for gate in decision.gates}
    assert (verdicts["roc_auc"], verdicts["calibration_slope"]) == ("passed", "passed")
    assert "Every model is recalibrated: one slope and an intercept" in words(recalibrated, decision, record)


def test_full_evidence_holds_what_quick_does_and_more(
    quick: tuple[Decision, EvidenceRecord], full: tuple[Decision, EvidenceRecord]
) -> None:
    only_full = {name for name in EvidenceRecord.model_fields if getattr(quick[1], name) is None}
    assert only_full == {"stress", "detection", "imputations", "nested"}
    assert all(getattr(full[1], name) for name in only_full)
    assert quick[0].gates == full[0].gates
    for same in ("calibration", "fairness", "explanation", "labels", "net_benefit"):
        assert getattr(quick[1], same) == getattr(full[1], same)


def test_the_explained_patient_adds_up(full: tuple[Decision, EvidenceRecord]) -> None:
    example = full[1].explanation.example
    total = example.base + sum(row.value for row in example.values)
    assert total == pytest.approx(example.probability, abs=1e-6)
    assert len(full[1].explanation.overall) == 13
    assert full[1].explanation.rows == 60


def words(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> str:
    """The report's text, whatever its table."""
    return text_of(spec, decision, evidence, IngestRecord(**RECORD, missing=dict.fromkeys(spec.features, 0)))


def test_the_full_report_tells_what_only_full_evidence_knows(
    heart: Heart, full: tuple[Decision, EvidenceRecord]
) -> None:
    text = words(heart[0], *full)
    inside = full[1].nested["logistic_regression"].intervals["roc_auc"]
    assert f"{inside.mean:.3f} {inside.low:.3f} to {inside.high:.3f}" in text
    assert "By nested cross-validation" in text
    for row in full[1].stress[1:]:
        change = row.effects["roc_auc"].change
        assert f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})" in text
    assert "20 %, everybody" in text
    assert "fails the gate" in text
    assert "parameters searched for itself" in text
    assert "EVIDENCE=full" not in text


def test_obesity_stands_beside_its_rule_with_its_caveats(uci: Path, tmp_path: Path) -> None:
    spec = specs.load("obesity")
    ingest(spec, str(uci / "ObesityDataSet_raw_and_data_sinthetic.csv"), tmp_path / "table")
    table = pq.read_table(tmp_path / "table")
    small = spec.model_copy(
        update={
            "search": {"logistic_regression": {"C": (3.0,)}},
            "selection": spec.selection.model_copy(update={"repeats": 1}),
        }
    )
    decision, record = judged((small, encoding.encode(spec, table), encoding.encode_target(spec, table)), "quick")
    text = words(spec, decision, record)
    assert "A rule alone, body mass index, has an accuracy of 0.919 (0.907 to 0.930)" in text
    assert "without height and weight does without Height, Weight" in text
    assert "77 % of the rows are synthetic" in text
    assert "3 of them equal a training row to the last value" in text
    assert "Where this page speaks of one event, it is obesity I or obesity II or obesity III" in text
    assert "ROC AUC, macro, one against the rest" in text
    assert [each.name for each in record.calibration_by_class] == [cls.name for cls in spec.target.classes]
    for each in record.calibration_by_class:
        measured = each.calibration
        assert f"{each.name} {100 * measured.observed:.1f} % {100 * measured.expected:.1f} %" in text


def test_the_page_says_what_is_true_of_this_model_alone(heart: Heart, quick: tuple[Decision, EvidenceRecord]) -> None:
    """Rows that were weighted, groups and a study of which nothing is known, and who has judged whom."""
    spec, *rows = heart
    silent = spec.model_copy(
        update={
            "search": {"logistic_regression": {"C": (0.3,), "class_weight": ("balanced",)}},
            "sensitive": (),
            "study": Study(),
            "evidence": spec.evidence.model_copy(update={"bands": {}}),
        }
    )
    weighted = words(silent, *judged((silent, *rows), "quick"))
    assert "logistic regression weighs rows by the rarity of their class" in weighted
    assert "rows are weighted by class" in weighted
    assert "nor weighted" not in weighted
    assert "the spec names no sensitive column, so nothing is known of groups of people" in weighted
    assert "14 Fairness not available: no sensitive column is named" in weighted
    assert weighted.count("not available: the spec does not say") == len(Study.model_fields)
    assert "5 Source of the data, dates source given; dates not available" in weighted
    plain = words(spec, *quick)
    assert "no row was dropped or resampled, nor weighted" in plain
    assert "each row has helped to choose the parameters of the model that judges it" in plain


def test_the_invented_hospital_passes_and_says_how_unlike_events_are_found(tmp_path: Path) -> None:
    """Patients who come again, over time and three sites: as the pipeline's steps split and judge them."""
    hospital.write_table(tmp_path / "visits.parquet", 6000, 0)
    spec = specs.load("hospital")
    spec = spec.model_copy(update={"search": {"logistic_regression": {"C": (0.1,)}}})
    ingest(spec, str(tmp_path / "visits.parquet"), tmp_path / "table")
    train_part, hold_out, fitted = (tmp_path / name for name in ("train", "test", "preprocessor"))
    split.write_split(spec, tmp_path / "table", 0, train_part, hold_out, fitted)
    parts = [split.read_split(spec, part) for part in (train_part, hold_out)]
    common = split.read_common(train_part, hold_out)
    preprocessor, _ = preprocessing.fit(spec, parts[0][0])
    models = [train.train(spec, "logistic_regression", preprocessor, parts[0], 0, split.read_groups(train_part))]
    decision = evaluate(spec, models, *parts, 0)
    record = gather.gather(spec, models, decision.winner, *parts, 0, "quick", *common)
    decision = gather.add_gates(spec, decision, record)
    assert decision.passed, decision.gates
    verdicts = {gate.label: gate.verdict for gate in decision.gates}
    assert "Difference of sensitivity by age" not in verdicts
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.PASSED} >= {
        "Calibration slope",
        "Calibration in the large by sex",
        "Calibration in the large by age",
    }
    text = words(spec, decision, record)
    assert "Events are not found alike in the groups of age" in text
