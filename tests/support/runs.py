"""Finished runs of the real pipeline, the commands that make them, and an invented data set."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from healthrisk import spec as specs
from healthrisk.bundle import Bundle
from tests.support.launcher import Launcher
from tests.support.once import Once
from tests.support.patience import run
from tests.support.servers import ROOT, free_ports
from tests.support.traced import Traced

SPEC = ROOT / "tests" / "support" / "readmission.yaml"
# As the README has them.
TRAIN_OWN = "python pipelines/train_pipeline.py --dataset my-spec.yaml --data my-table.csv"
TRAIN_AGAIN = f"{TRAIN_OWN} --seed 1"
Pipeline = Callable[..., subprocess.CompletedProcess[str]]


def make(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make with the environment these tests run in, instead of one made anew."""
    prefix = Path(sys.prefix)
    command = ["make", f"VENV={prefix}", "--assume-old", prefix / ".ready", *arguments]
    # What the make around these tests was told is not meant for this one.
    outer = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "FAST"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return run(command, cwd=ROOT, env={**environment, "HEALTHRISK_HOME": str(home)})


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """Run pipelines/train_pipeline.py as a user does, with its files in a given folder."""

    def train(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "pipelines/train_pipeline.py", *arguments]
        return run(command, env={**os.environ, "HEALTHRISK_HOME": str(home), **environment}, cwd=ROOT)

    return train


def kill_while_it_trains(home: Path, *arguments: str) -> None:
    """Start a run and kill all of its processes while one of them trains."""
    command = [sys.executable, ROOT / "pipelines/train_pipeline.py", *arguments]
    environment = {**os.environ, "HEALTHRISK_HOME": str(home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as running:
        assert running.stdout is not None
        while not (line := running.stdout.readline()).startswith("[4/9]"):
            assert line, "the run ended before it was killed"
        os.killpg(running.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def home(once: Once) -> Path:
    """A HEALTHRISK_HOME in which `make run` has run once; summary.txt and errors.txt hold what it printed."""

    def first_run(folder: Path) -> None:
        done = make(folder, "run", f"PORT={free_ports(12)[0]}")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "summary.txt").write_text(done.stdout)
        (folder / "errors.txt").write_text(done.stderr)

    return once("home", first_run)


def check_whole(home: Path) -> None:
    """Check that whatever is visible is whole, and that every registered version has its bundle."""
    for path in home.glob("bundles/*/*"):
        if not path.name.startswith("."):
            Bundle.open(path, path.name)
    assert all(path.read_text().endswith("</html>") for path in home.glob("reports/*.html"))
    if (home / "mlflow.db").exists():
        # Heavy: workers without such a test need not wait for MLflow.
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        for version in client.search_model_versions(""):
            uri = version.tags["uri"]
            Bundle.open(Path(uri.removeprefix("file://")), version.tags["digest"])


def check_registered(home: Path) -> None:
    """Check that there is one bundle, one version of it, which is champion, and nothing half done."""
    check_whole(home)
    assert len(list(home.glob("bundles/readmission/*"))) == 1
    assert not list(home.rglob(".writing-*"))
    # Heavy: workers without such a test need not wait for MLflow.
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (version,) = client.search_model_versions("")
    assert client.get_model_version_by_alias("readmission", "champion").version == version.version


def check_refused(done: subprocess.CompletedProcess[str], home: Path, says: str) -> None:
    """Check that a run of bad input ended with one line that says what is wrong, and left nothing."""
    assert done.returncode == 1
    assert done.stderr.startswith("error: step '")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path for path in home.rglob("*") if path.is_file()] == []


def readmissions(rows: int, seed: int) -> pd.DataFrame:
    """Invent patients: risk rises with age, nights and inflammation."""
    rng = np.random.default_rng(seed)
    years, nights = rng.integers(18, 100, rows), rng.exponential(6, rows).clip(0, 90).round(1)
    crp = rng.exponential(40, rows).clip(0, 500).round(1)
    ward = rng.choice(["medical", "surgical", "other"], rows)
    risk = 1 / (
        1 + np.exp(-(0.04 * (years - 60) + 0.15 * (nights - 6) + 0.01 * (crp - 40) - 0.5 * (ward == "surgical")))
    )
    outcome = np.where(rng.random(rows) < risk, "Y", "N")
    crp[rng.random(rows) < 0.1] = -1
    return pd.DataFrame({"years": years, "ward": ward, "nights": nights, "crp": crp, "readmitted": outcome})


@pytest.fixture(scope="session")
def own(once: Once) -> tuple[str, ...]:
    """The arguments that name the invented spec, which trains in seconds, and a table of it."""
    folder = once("own", lambda path: readmissions(400, 0).to_csv(path / "readmissions.csv", index=False))
    return "--dataset", str(SPEC), "--data", str(folder / "readmissions.csv")


@pytest.fixture(scope="session")
def own_home(own: tuple[str, ...], empty_registry: Path, once: Once) -> Path:
    """A HEALTHRISK_HOME in which a first run was killed, and then the README's command has trained, traced.

    Its data are the invented ones. Tests in tests/pipelines/test_second_run.py add to it.
    """

    def train(folder: Path) -> None:
        shutil.copy(own[1], folder / "my-spec.yaml")
        shutil.copy(own[3], folder / "my-table.csv")
        Traced(folder).healthrisk_home.mkdir()
        shutil.copy(empty_registry, Traced(folder).healthrisk_home)
        kill_while_it_trains(Traced(folder).healthrisk_home, *own)
        check_whole(Traced(folder).healthrisk_home)
        _, script, *arguments = TRAIN_OWN.split()
        done = Traced(folder).run(ROOT / script, *arguments, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "version   readmission 1, champion" in done.stdout

    return Traced(once("own-home", train)).healthrisk_home


@pytest.fixture(scope="session")
def launched(own: tuple[str, ...], empty_registry: Path, once: Once) -> Launcher:
    """The compiled pipeline run on the invented data, task by task, as a cluster would, with models recalibrated."""
    spec = specs.load(own[1])
    recalibrated = spec.model_copy(update={"selection": spec.selection.model_copy(update={"recalibration": "platt"})})
    parameters = {"spec": recalibrated.to_json(), "data": own[3], "seed": 0, "level": "quick", "rollout": ""}
    parameters |= {"override_gate": "", "override_by": ""}

    def launch(folder: Path) -> None:
        launcher = Launcher(parameters, folder)
        (folder / "home").mkdir()
        shutil.copy(empty_registry, folder / "home")
        launcher.run_all(fork=True)
        (folder / "artifacts.json").write_text(json.dumps([[*key, value] for key, value in launcher.artifacts.items()]))

    folder = once("launched", launch)
    launcher = Launcher(parameters, folder)
    for task, output, artifact in json.loads((folder / "artifacts.json").read_text()):
        launcher.artifacts[task, output] = artifact
    return launcher
