"""Linear models in their serving form: as scikit-learn's to the last float32 digit, and refused where they are none."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from healthrisk.bundle import parity
from healthrisk.bundle.classifier import Linear
from healthrisk.errors import BundleError
from healthrisk.registry import export
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing
from tests.support.patience import PROCESS


def breast_cancer() -> tuple[DatasetSpec, np.ndarray, np.ndarray]:
    """Wisconsin's table with ranges as wide as a clinic needs: rows far from the mean are what float32 gets wrong."""
    table = load_breast_cancer()
    document = {
        "name": "breast-cancer",
        "title": "Breast cancer (Wisconsin)",
        "description": "Cell nuclei of fine needle aspirates.",
        "columns": [
            {"name": f"x{place}", "label": str(name), "kind": "number", "range": [0, 5 * float(values.max())]}
            for place, (name, values) in enumerate(zip(table.feature_names, table.data.T, strict=True))
        ],
        "target": {
            "name": "diagnosis",
            "label": "Diagnosis",
            "classes": [{"name": "malignant", "value": 0, "raw": [0]}, {"name": "benign", "value": 1, "raw": [1]}],
        },
        "selection": {"metric": "log_loss"},
        "gates": [{"metric": "roc_auc", "min": 0.5}],
        "risk_levels": [{"name": "all"}],
    }
    spec = DatasetSpec.parse(json.dumps(document))
    return spec, table.data, table.target


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_model_agrees_on_any_row_of_a_wide_table(classes: int) -> None:
    spec, matrix, y = breast_cancer()
    y = y if classes == 2 else np.digitize(matrix[:, 0], np.quantile(matrix[:, 0], [0.4, 0.7]))
    fitted, preprocessor = preprocessing.fit(spec, matrix)
    classifier = LogisticRegression(C=10.0, max_iter=5000).fit(preprocessor.transform(matrix).astype(np.float64), y)
    form = export.serving_form(classifier, preprocessor.outputs)
    rows = parity.generate_rows(spec, 20_000, 0)
    expected = classifier.predict_proba(fitted.transform(rows).astype(np.float32).astype(np.float64))
    # Half a unit in the last place of a float32 near one.
    assert parity.check_form(expected, preprocessor, form, rows) <= 3.1e-8


def test_certain_rows_do_not_overflow() -> None:
    model = Linear(np.array([[0.0, 1e6]]), np.zeros(2))
    assert model.probabilities(np.array([[1e3], [-1e3]], np.float32)).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        json.dumps({"outputs": ["a"], "coefficients": [[0, 1]], "intercepts": [0, 0, 0]}),
        json.dumps({"outputs": ["a", "b"], "coefficients": [[0, 1]], "intercepts": [0, 0]}),
    ],
)
def test_what_is_no_linear_model_is_refused(document: str) -> None:
    with pytest.raises(BundleError, match=r"linear\.json"):
        Linear.from_json(document.encode())


def test_a_linear_model_needs_no_onnxruntime(home: Path) -> None:
    (bundle,) = (home / "bundles" / "heart-disease").iterdir()
    script = (
        "import sys, pathlib\nfrom healthrisk.bundle import Bundle\nfrom healthrisk.inference.scorer import Scorer\n"
        "Scorer(Bundle.open(pathlib.Path(sys.argv[1]))).replay_golden()\nassert 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(bundle)], check=True, timeout=PROCESS)
