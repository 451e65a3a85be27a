"""Every command that means a data set takes it alike: by its name, or by the path of its spec.

Of kserve/serve.py tests/serving/test_startup.py shows it.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.commands import healthrisk


@pytest.fixture(params=["name", "path"])
def dataset(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> str:
    if request.param == "name":
        return "heart-disease"
    # Under a name of its own: what counts is the one in the spec.
    copied = shutil.copy(root / "components/healthrisk/datasets/heart-disease.yaml", tmp_path / "my-own.yaml")
    return str(copied)


def test_predict_and_drift(dataset: str, root: Path, home: Path, tmp_path: Path) -> None:
    (bundle,) = (home / "bundles" / "heart-disease").iterdir()
    # The registry of a finished run, in which heart disease has a champion.
    shutil.copy(home / "mlflow.db", tmp_path)
    table = root / "components/healthrisk/datasets/heart-disease.csv"
    for words in (["predict", table, "--out", tmp_path / "scored.csv", "--quiet"], ["drift", table]):
        done = healthrisk(*words, "--dataset", dataset, HEALTHRISK_HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["version"] == bundle.name[:12]
