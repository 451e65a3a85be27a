"""A run on this machine: what it prints, what it leaves, and that it says the same twice."""

import html
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pytest

from healthrisk.records import actor
from healthrisk.records.lines import Action
from healthrisk.records.places import open_place
from healthrisk.records.search import find_actions
from tests.support import patience
from tests.support.runs import Pipeline


def the(pattern: str, folder: Path) -> Path:
    """Return the one path that matches."""
    (path,) = folder.glob(pattern)
    return path


def decision(home: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(the("runs/*/evidence/judged", home).read_text())
    return document


def test_the_summary_says_what_a_person_wants_to_know(home: Path) -> None:
    text = (home / "summary.txt").read_text()
    for title in ("Ingest the table", "Validate it", "Train random forest", "Register the winner"):
        assert title in text
    for line in (
        "winner    ",
        "rule      the simplest model within",
        "gates     ",
        "version   heart-disease 1, champion",
    ):
        assert line in text
    for line in text.splitlines():
        if line.startswith(("report  ", "table  ", "bundle  ")):
            assert Path(line.split()[1].removeprefix("file://")).exists()


def test_the_figures_lie_where_honest_pipelines_land(home: Path) -> None:
    # Anchors: repeated nested cross-validation on all 303 rows, published with scikit-learn 1.9.
    anchors = {"logistic_regression": 0.910, "random_forest": 0.901, "gradient_boosting": 0.900}
    for family, anchor in anchors.items():
        interval = decision(home)["models"][family]["cross_validation"]["intervals"]["roc_auc"]
        assert interval["low"] < anchor < interval["high"]
        assert abs(interval["mean"] - anchor) < 0.03
    assert decision(home)["winner"] == "logistic_regression"


def test_mlflow_holds_parameters_metrics_plots_and_the_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("heart-disease")
    runs = {run.data.tags["family"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"logistic_regression", "random_forest", "gradient_boosting"}
    for run in runs.values():
        assert run.data.params["seed"] == "0"
        assert run.data.tags["data.sha256"].startswith("90a8bba7")
        assert len(run.data.tags["git.revision"].removesuffix("-dirty")) == 40
        assert 0.5 < run.data.metrics["test.roc_auc"] <= 1
        files = {item.path for item in client.list_artifacts(run.info.run_id, "plots")}
        assert files == {f"plots/{name}.png" for name in ("calibration", "confusion", "importance", "roc")}
    version = client.get_model_version_by_alias("heart-disease", "champion")
    assert version.run_id == runs["logistic_regression"].info.run_id
    (logged,) = client.get_run(version.run_id).outputs.model_outputs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    model = mlflow.sklearn.load_model(f"models:/{logged.model_id}")
    assert model.predict_proba(np.full((1, 13), np.nan)).sum() == pytest.approx(1)


def test_a_failed_gate_fails_the_run_and_registers_nothing(
    own: tuple[str, ...], empty_registry: Path, tmp_path: Path, pipeline: Pipeline
) -> None:
    (tmp_path / "home").mkdir()
    shutil.copy(empty_registry, tmp_path / "home")
    spec = tmp_path / "strict.yaml"
    spec.write_text(Path(own[1]).read_text().replace("min: 0.6", "min: 0.999"))
    done = pipeline(tmp_path / "home", "--dataset", str(spec), *own[2:])
    assert done.returncode == 1
    assert "step 'Register the winner' failed" in done.stderr
    assert "fails its gates: ROC AUC 0." in done.stderr
    assert not list(tmp_path.glob("home/bundles/**/MANIFEST.json"))
    (report,) = tmp_path.glob("home/reports/refused-*.html")
    assert str(report) in done.stderr
    assert "A gate failed: nothing is registered." in report.read_text()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}")
    assert client.search_registered_models() == []


def test_a_failed_gate_is_overridden_with_a_reason_that_everyone_sees(
    own: tuple[str, ...], empty_registry: Path, tmp_path: Path, pipeline: Pipeline
) -> None:
    home, reason = tmp_path / "home", "the board allows it for the silent trial"
    home.mkdir()
    shutil.copy(empty_registry, home)
    spec = tmp_path / "strict.yaml"
    spec.write_text(Path(own[1]).read_text().replace("min: 0.6", "min: 0.999"))
    done = pipeline(home, "--dataset", str(spec), *own[2:], "--override-gate", reason)
    assert done.returncode == 0, done.stderr
    assert "version   readmission 1, champion" in done.stdout
    # The step says so, and the summary after it.
    *_, said = (line.strip() for line in done.stdout.splitlines() if "overridden by" in line)
    assert said.startswith(f"gates overridden by {actor.current()} at 20")
    assert said.endswith(reason)
    for pattern in (f"{'?' * 12}.html", "*-model-card.xml", "*-source-attributes.json"):
        page = html.unescape(the(f"reports/readmission-{pattern}", home).read_text())
        assert reason in page, pattern
        assert actor.current() in page, pattern
    assert "failed, overridden" in the(f"reports/readmission-{'?' * 12}.html", home).read_text()
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    version = client.get_model_version("readmission", "1")
    assert (version.tags["override.reason"], version.tags["override.by"]) == (reason, actor.current())
    assert version.tags["override.gates"].startswith("ROC AUC 0.")
    assert version.description == f"Gates {said.removeprefix('gates ')}"
    found = find_actions(open_place(str(home / "records"))).found
    lines = [one.entry for one in found if isinstance(one.entry, Action)]
    assert [line.event for line in lines] == ["gate-overridden", "registered", "promoted"]
    assert {line.digest for line in lines} == {version.tags["digest"]}
    assert all(reason in line.reason for line in lines[:2])


@pytest.mark.parametrize("reason", [[], ["because"]])
def test_an_override_that_says_no_reason_is_refused_in_one_line(
    reason: list[str], tmp_path: Path, pipeline: Pipeline
) -> None:
    done: subprocess.CompletedProcess[str] = pipeline(tmp_path, "--override-gate", *reason)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --override-gate '")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_pipeline_that_many_runs_start_from_takes_no_override(tmp_path: Path, pipeline: Pipeline) -> None:
    done = pipeline(tmp_path, "--compile", str(tmp_path / "new.yaml"), "--override-gate", "the committee asked for it")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --override-gate is for one run that somebody has looked at, and --compile ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "lung"], "unknown data set 'lung'"),
        (["--dataset", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: list[str], says: str, tmp_path: Path, pipeline: Pipeline) -> None:
    done: subprocess.CompletedProcess[str] = pipeline(tmp_path, *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("EVIDENCE", "all", "error: level of evidence 'all': expected quick or full"),
        ("HEALTHRISK_HOME", os.devnull, f"error: [Errno 20] Not a directory: '{os.devnull}/runs'"),
    ],
)
def test_a_wrong_environment_is_one_line(
    variable: str, value: str, says: str, root: Path, tmp_path: Path, pipeline: Pipeline
) -> None:
    environment = {**os.environ, "HEALTHRISK_HOME": str(tmp_path), variable: value}
    for script in ("train_pipeline.py", "first_run.py"):
        command = [sys.executable, str(root / "pipelines" / script)]
        done = patience.run(command, env=environment)
        assert (done.returncode, done.stderr) == (1, f"{says}\n")


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--seed", "-1"], "'-1' is no seed"), (["--compile", "x.txt"], "must end in .yaml")]
)
def test_an_impossible_argument_is_refused_at_once(
    arguments: list[str], says: str, tmp_path: Path, pipeline: Pipeline
) -> None:
    done: subprocess.CompletedProcess[str] = pipeline(tmp_path, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", ["pipelines/first_run.py", "pipelines/mlflow_ui.py", "kserve/serve.py"])
def test_a_taken_port_is_reported_before_anything_else(script: str, root: Path, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, str(root / script), "--port", str(port)]
        environment = {**os.environ, "HEALTHRISK_HOME": str(home)}
        done = patience.run(command, env=environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.endswith(f"port {port} of 127.0.0.1 cannot be listened on: address already in use\n")
    assert done.stderr.count("\n") == 1
