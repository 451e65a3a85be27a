"""Serving forms of recalibrated models: scikit-learn's to a millionth on any row, through to the golden rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healthrisk import spec as specs
from healthrisk.bundle import parity
from healthrisk.bundle.classifier import GRAPH, LINEAR
from healthrisk.bundle.manifest import DataOrigin
from healthrisk.inference.scorer import Scorer
from healthrisk.registry import export
from healthrisk.registry.build import build_bundle
from healthrisk.spec import FAMILIES
from healthrisk.training import estimators, preprocessing, train
from healthrisk.training.recalibration import RecalibratedClassifier
from tests.support import sample_bundle

SMALL: dict[str, dict[str, Any]] = {"random_forest": {"n_estimators": 10}, "gradient_boosting": {"max_iter": 10}}
# protobuf turns a warning about numpy's whole numbers in converted trees into an error of its own.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dataset", ["heart-disease", "obesity"])
@pytest.mark.slow
def test_a_recalibrated_model_is_served_as_it_was_trained(dataset: str, family: Any) -> None:
    spec = specs.load(dataset)
    matrix, y = sample_bundle.rows_of(spec, 0)
    fitted, preprocessor = preprocessing.fit(spec, matrix)
    plain = estimators.make_classifier(family, 0).set_params(**SMALL.get(family, {}))
    recalibrated = RecalibratedClassifier(plain, 3, 0).fit(preprocessor.transform(matrix).astype(np.float64), y)
    form = export.serving_form(recalibrated, preprocessor.outputs)
    assert form.name == (LINEAR if family == "logistic_regression" else GRAPH)
    rows = np.vstack([matrix, parity.generate_rows(spec, 2000, 0)])
    inputs = fitted.transform(rows).astype(np.float32).astype(np.float64)
    expected = recalibrated.predict_proba(inputs)
    assert parity.check_form(expected, preprocessor, form, rows) <= 1e-6
    # Not because nothing was recalibrated.
    assert np.abs(expected - recalibrated.classifier_.predict_proba(inputs)).max() > 0.01


@pytest.mark.slow
def test_the_golden_rows_go_through_it(tmp_path: Path) -> None:
    spec = specs.load("heart-disease")
    spec = spec.model_copy(
        update={
            "selection": spec.selection.model_copy(update={"recalibration": "platt", "folds": 3, "repeats": 1}),
            "search": {"random_forest": {"min_samples_leaf": (1, 3), "n_estimators": (20,)}},
        }
    )
    part = sample_bundle.rows_of(spec, 0)
    fitted, _ = preprocessing.fit(spec, part[0])
    trained = train.train(spec, "random_forest", fitted, part, 0)
    assert {*trained.record.parameters} == {"min_samples_leaf", "n_estimators"}
    trained.save(tmp_path / "model")
    decision = sample_bundle.decision(spec, "random_forest", 0.8)
    origin = DataOrigin(sha256="0" * 64, rows=len(part[1]))
    bundle = build_bundle(spec, tmp_path / "bundles", tmp_path / "model", [part[0]], part, decision, origin)
    scorer = Scorer(bundle)
    scorer.replay_golden()
    assert scorer.probabilities(part[0]) == pytest.approx(trained.probabilities(spec, part[0]), abs=1e-6)
    assert bundle.spec.selection.recalibration == "platt"
