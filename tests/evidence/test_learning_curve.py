"""Whether more rows would help, where it is known; and a large table's run, which says what it left out."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from healthrisk.bundle.manifest import DataOrigin
from healthrisk.data.ingest import IngestRecord
from healthrisk.evidence import gather, learning_curve
from healthrisk.evidence.scale_documents import LearningCurve
from healthrisk.registry.build import build_bundle
from healthrisk.spec import DatasetSpec
from healthrisk.training import estimators, preprocessing, sampling, train
from healthrisk.training.evaluate import evaluate
from healthrisk.training.train import Trained
from tests.support.report_text import text_of

Part = tuple[np.ndarray, np.ndarray]

pytestmark = pytest.mark.slow


def make_spec(columns: int, **changes: Any) -> DatasetSpec:
    document = {
        "name": "invented",
        "title": "Invented",
        "description": "Nobody.",
        "columns": [
            {"name": f"c{place}", "label": f"C{place}", "kind": "number", "range": [-9, 9]} for place in range(columns)
        ],
        "target": {
            "name": "y",
            "label": "Outcome",
            "classes": [{"name": "no", "value": 0, "raw": [0]}, {"name": "yes", "value": 1, "raw": [1]}],
        },
        "search": {"logistic_regression": {"C": [0.3, 1.0, 3.0, 10.0]}},
        "risk_levels": [{"name": "Low", "below": 0.5}, {"name": "High"}],
    }
    return DatasetSpec.model_validate(document | changes)


def invented(rows: int, columns: int, seed: int = 0) -> Part:
    """Numbers of which three alone say something."""
    rng = np.random.default_rng(seed)
    matrix = np.clip(rng.normal(size=(rows, columns)), -9, 9)
    return matrix, (matrix[:, :3].sum(axis=1) + rng.logistic(size=rows) > 0).astype(np.int64)


def trained(spec: DatasetSpec, part: Part) -> Trained:
    return train.train(spec, "logistic_regression", preprocessing.fit(spec, part[0])[0], part, 0)


def curve_of(spec: DatasetSpec, rows: int) -> LearningCurve:
    columns = len(spec.columns)
    part = invented(rows, columns)
    return learning_curve.describe(spec, trained(spec, part), part, invented(200, columns, 1), 0, None)


def test_few_rows_of_many_columns_ask_for_more() -> None:
    curve = curve_of(make_spec(60), 600)
    assert [point.rows for point in curve.points] == [60, 120, 240, 480]
    assert [point.log_loss.mean for point in curve.points] == sorted(
        (point.log_loss.mean for point in curve.points), reverse=True
    )
    assert curve.verdict == "more would help"
    assert curve.sample_cost is None


def test_many_rows_of_few_columns_are_enough() -> None:
    curve = curve_of(make_spec(3), 4000)
    assert curve.verdict == "hardly any more"
    assert abs(curve.gain.mean) < curve.negligible


def test_a_class_too_scarce_to_leave_some_out_has_no_curve() -> None:
    spec = make_spec(3)
    matrix, _ = invented(300, 3)
    y = (np.arange(300) < 6).astype(np.int64)
    model = trained(spec, (matrix, y))
    curve = learning_curve.describe(spec, model, (matrix, y), (matrix, y), 0, None)
    assert (len(curve.points), curve.gain, curve.verdict) == (1, None, "not shown")


@pytest.fixture(scope="module")
def large() -> dict[str, Any]:
    """A run over a table that is large by its spec: two families, evidence, report and bundle."""
    scale = {
        "whole_rows": 500,
        "search_rows": 600,
        "judged_rows": 900,
        "share_width": 0.2,
        "tree_rows": 300,
        "score_width": 0.5,
    }
    searched = {"logistic_regression": {"C": [0.3, 1.0, 3.0, 10.0]}, "random_forest": {"min_samples_leaf": [5]}}
    spec = make_spec(4, scale=scale, search=searched)
    parts = invented(3000, 4), invented(1200, 4, 1)
    fitted, _ = preprocessing.fit(spec, parts[0][0])
    models = [train.train(spec, family, fitted, parts[0], 0) for family in ("logistic_regression", "random_forest")]
    decision = evaluate(spec, models, *parts, 0)
    evidence = gather.gather(spec, models, decision.winner, *parts, 0, "quick")
    return {"spec": spec, "parts": parts, "models": models, "decision": decision, "evidence": evidence}


def test_models_are_fitted_on_every_row_and_judged_on_a_sample(large: dict[str, Any]) -> None:
    evidence, decision = large["evidence"], large["decision"]
    assert (decision.rows.train, decision.rows.test) == (3000, 1200)
    assert {model.record.rows for model in large["models"]} == {3000}
    assert 900 <= len(large["models"][0].judged) < 950
    assert (evidence.sampled.judged_train, evidence.sampled.judged_test) == (
        len(large["models"][0].out_of_fold),
        decision.winning.test.rows,
    )
    assert evidence.rows == evidence.sampled.judged_train + evidence.sampled.judged_test
    assert evidence.sample_size.patients == 3000
    assert large["models"][1].record.parameters == {"min_samples_leaf": 5, "max_samples": 300}


def test_what_the_sample_cost_is_measured_on_the_hold_out(large: dict[str, Any]) -> None:
    spec, model = large["spec"], large["models"][0]
    curve, (part, test) = large["evidence"].learning_curve, large["parts"]
    alone = estimators.make_model(spec, "logistic_regression", 0, model.record.parameters)
    alone.fit(*sampling.take(part, model.judged))
    rows, y = sampling.take(test, sampling.judged(spec, test[1], 0))
    more = log_loss(y, alone.predict_proba(rows)) - log_loss(y, model.probabilities(spec, rows))
    assert large["decision"].winner == "logistic_regression"
    assert curve.sample_cost.mean == pytest.approx(more, abs=1e-9)
    # A large table's curve has one fold of five.
    assert curve.judged == pytest.approx(len(model.judged) / 5, abs=1)


def test_the_report_of_a_large_table_says_what_was_left_out(large: dict[str, Any]) -> None:
    spec, decision, evidence = large["spec"], large["decision"], large["evidence"]
    record = IngestRecord(
        source="file",
        uri="file:///t.csv",
        sha256="0" * 64,
        rows=4200,
        columns=(),
        missing=dict.fromkeys(spec.features, 0),
    )
    text = text_of(spec, decision, evidence, record)
    judged, held_out = evidence.sampled.judged_train, evidence.sampled.judged_test
    assert f"Judged were {judged} of 3000 training rows and {held_out} of 1200 held out" in text
    assert (
        "The search of logistic regression judged 4 candidates on 201 rows, the best 2 candidates on 600 rows" in text
    )
    assert "Cross-validation of logistic regression ended after" in text
    assert "Each tree of the forest drew 300 rows" in text
    assert f"A model of the {judged} sampled rows alone loses" in text
    assert "of all 3000 that is registered" in text
    assert f"A stratified sample of {held_out} of the 1200 rows that no fitting has seen" in text


def test_parity_is_proved_on_every_row_all_the_same(large: dict[str, Any], tmp_path: Any) -> None:
    spec, (part, test) = large["spec"], large["parts"]
    model = large["models"][0]
    model.save(tmp_path / "model")
    judged = np.vstack([part[0][model.judged], test[0][:50]]), np.concatenate([part[1][model.judged], test[1][:50]])
    origin = DataOrigin(sha256="0" * 64, rows=4200)
    bundle = build_bundle(
        spec, tmp_path / "bundles", tmp_path / "model", [part[0], test[0]], judged, large["decision"], origin
    )
    assert bundle.manifest.parity.rows == 4200 + 10_000
    assert bundle.reference.rows == len(model.judged) + 50
