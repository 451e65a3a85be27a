"""A run that is killed, wherever it stands, leaves nothing that hinders the next or might pass for a result."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import mlflow

from tests.support.launcher import Launcher
from tests.support.patience import until
from tests.support.runs import Pipeline, check_whole

# What registering leaves one after the other; it is killed as soon as each can be seen.
MOMENTS: tuple[Callable[[Path], bool], ...] = (
    lambda home: (home / "mlflow.db").exists(),
    lambda home: (home / "building").exists(),
    lambda home: bool(list(home.glob("bundles/readmission/[!.]*"))),
    lambda home: has_version(home / "mlflow.db"),
)


def has_version(database: Path) -> bool:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        return bool(opened.execute("select count(*) from model_versions").fetchone()[0])
    return False


def check_registered(home: Path) -> None:
    """Check that there is one bundle, one version of it, which is champion, and nothing half done."""
    check_whole(home)
    assert len(list(home.glob("bundles/readmission/*"))) == 1
    assert not list(home.rglob(".writing-*"))
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (version,) = client.search_model_versions("")
    assert client.get_model_version_by_alias("readmission", "champion").version == version.version


def test_a_killed_first_run_hinders_nothing(
    own: tuple[str, ...], tmp_path: Path, root: Path, pipeline: Pipeline
) -> None:
    """All processes of a run in an empty home are killed, while one of them trains."""
    command = [sys.executable, str(root / "pipelines/train_pipeline.py"), *own]
    environment = {**os.environ, "HEALTHRISK_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True
    ) as running:
        assert running.stdout is not None
        while not (line := running.stdout.readline()).startswith("[4/9]"):
            assert line, "the run ended before it was killed"
        os.killpg(running.pid, signal.SIGKILL)
    check_whole(tmp_path)
    done = pipeline(tmp_path, *own)
    assert done.returncode == 0, done.stdout + done.stderr
    check_registered(tmp_path)


def test_registering_may_be_killed_anywhere(launched: Launcher, tmp_path: Path) -> None:
    launcher = Launcher(launched.parameters, tmp_path)
    launcher.artifacts = dict(launched.artifacts)
    home = tmp_path / "home"
    for reached in MOMENTS:
        command, environment, _ = launcher.command("register")
        with subprocess.Popen(command, env=environment, cwd=tmp_path, start_new_session=True) as running:
            until(lambda running=running, reached=reached: reached(home) or running.poll() is not None)
            assert running.poll() is None, "it ended before it was killed"
            os.killpg(running.pid, signal.SIGKILL)
        check_whole(home)
    launcher.run("register")
    check_registered(home)
