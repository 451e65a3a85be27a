"""The compiled pipeline is the committed one, and its commands do the work when run as a cluster would run them."""

import json
import os
import sys
from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from tests.support.launcher import GOLDEN, IR, PLATFORM, Launcher
from tests.support.patience import run


@pytest.mark.slow
def test_the_golden_file_is_what_the_code_compiles_to(root: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HEALTHRISK_PIPELINE_IMAGE"}
    command = [sys.executable, str(root / "pipelines/train_pipeline.py"), "--compile", str(tmp_path / "new.yaml")]
    done = run(command, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new.yaml").read_text() == GOLDEN.read_text(), "run `make compile` and commit the result"


def test_every_task_has_a_title_and_an_image_and_installs_nothing() -> None:
    executors = IR["deploymentSpec"]["executors"]
    for name, task in IR["root"]["dag"]["tasks"].items():
        assert task["taskInfo"]["name"] != name
        container = executors[IR["components"][task["componentRef"]["name"]]["executorLabel"]]["container"]
        assert container["image"].startswith("healthrisk/pipeline")
        assert "pip install" not in json.dumps(container)
    # A shell's line, and the source that it writes to a file: of all the line is the same.
    commands = [one["container"]["command"] for one in executors.values()]
    assert {len(command) for command in commands} == {4}
    assert len({tuple(command[:3]) for command in commands}) == 1
    for name in ("register", "deploy"):
        assert IR["root"]["dag"]["tasks"][name]["cachingOptions"] == {}


def test_every_task_has_what_a_pod_needs() -> None:
    for name, task in IR["root"]["dag"]["tasks"].items():
        container = IR["deploymentSpec"]["executors"][f"exec-{task['componentRef']['name'].removeprefix('comp-')}"][
            "container"
        ]
        assert {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"} <= set(
            container["resources"]
        )
        assert "retryPolicy" in task
        pod = PLATFORM["platforms"]["kubernetes"]["deploymentSpec"]["executors"][
            f"exec-{task['componentRef']['name'].removeprefix('comp-')}"
        ]
        assert pod["securityContext"] == {"runAsUser": "65532", "runAsGroup": "65532", "runAsNonRoot": True}
        # The key that signs is for whoever makes the bundle, and nobody else.
        signing = ["bundle-signing"] if name == "register" else []
        assert [one["secretName"] for one in pod["secretAsEnv"]] == [*signing, "object-store"]
        assert pod["activeDeadlineSeconds"] == "3600"


def test_the_commands_of_the_golden_file_train_and_register(launched: Launcher) -> None:
    (bundle,) = (launched.folder / "home" / "bundles" / "readmission").iterdir()
    assert Bundle.open(bundle, bundle.name).spec.name == "readmission"
    registered = json.loads(Path(launched.artifacts["register", "registration"]["uri"]).read_text())
    assert (registered["version"], registered["alias"], registered["digest"]) == ("1", "champion", bundle.name)


def test_a_spec_may_ask_for_recalibration(launched: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Path(launched.artifacts["evidence", "page"]["uri"]).read_text()
    assert "Every model is recalibrated: one slope and an intercept" in report
    tracked = f"sqlite:///{launched.folder / 'home' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked)
    version = mlflow.MlflowClient(tracked).get_model_version_by_alias("readmission", "champion")
    (logged,) = mlflow.MlflowClient(tracked).get_run(version.run_id).outputs.model_outputs
    model = mlflow.sklearn.load_model(f"models:/{logged.model_id}")
    assert 0 < model[-1].layer.slope < 10
    assert model.predict_proba(np.full((1, 4), np.nan)).sum() == pytest.approx(1)


def test_scores_curves_and_pages_are_kfp_artifacts(launched: Launcher) -> None:
    declared = IR["components"]["comp-evaluate"]["outputDefinitions"]["artifacts"]
    kinds = {name: output["artifactType"]["schemaTitle"] for name, output in declared.items()}
    assert (kinds["scores"], kinds["curves"]) == ("system.Metrics", "system.ClassificationMetrics")
    scores = launched.artifacts["evaluate", "scores"]
    assert 0.5 < scores["metadata"]["test_roc_auc"] <= 1
    curves = launched.artifacts["evaluate", "curves"]
    matrix = curves["metadata"]["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["stayed home", "readmitted"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == 80
    assert len(curves["metadata"]["confidenceMetrics"]) > 5
    for task in ("evidence", "validate"):
        declared = IR["components"][f"comp-{task}"]["outputDefinitions"]["artifacts"]
        assert declared["page"]["artifactType"]["schemaTitle"] == "system.HTML"
        assert Path(launched.artifacts[task, "page"]["uri"]).read_text().startswith("<!doctype html>")
