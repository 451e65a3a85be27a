"""Every command that means a data set takes it alike: by its name, or by the path of its spec."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import http
from tests.support.commands import healthrisk
from tests.support.patience import ANSWER


@pytest.fixture(params=["name", "path"])
def dataset(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> str:
    if request.param == "name":
        return "heart-disease"
    # Under a name of its own: what counts is the one in the spec.
    copied = shutil.copy(root / "components/healthrisk/datasets/heart-disease.yaml", tmp_path / "my-own.yaml")
    return str(copied)


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """The registry of a finished run, in which heart disease has a champion."""
    shutil.copy(home / "mlflow.db", tmp_path / "mlflow.db")
    return {**os.environ, "HEALTHRISK_HOME": str(tmp_path)}


def test_predict_and_drift(dataset: str, root: Path, home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (bundle,) = (home / "bundles" / "heart-disease").iterdir()
    table = root / "components/healthrisk/datasets/heart-disease.csv"
    for words in (["predict", table, "--out", tmp_path / "scored.csv", "--quiet"], ["drift", table]):
        done = healthrisk(*words, "--dataset", dataset, HEALTHRISK_HOME=environment["HEALTHRISK_HOME"])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["version"] == bundle.name[:12]


def test_serve_and_explain(dataset: str, root: Path, home: Path, environment: dict[str, str], port: int) -> None:
    (bundle,) = (home / "bundles" / "heart-disease").iterdir()
    patient = (root / "kserve/examples/heart-disease-v1.json").read_text()
    command = [sys.executable, str(root / "kserve/serve.py"), "--dataset", dataset, f"--port={port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = "".join(server.stdout.readline() for _ in range(9))
            assert bundle.name[:12] in said
            explain = re.search(r"http\S+:explain", said)
            assert explain, said
            told = http.post(explain[0], content=patient, headers={"content-type": "application/json"})
            assert len(told.raise_for_status().json()["explanations"]) == len(json.loads(patient)["instances"])
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(ANSWER) == 0
