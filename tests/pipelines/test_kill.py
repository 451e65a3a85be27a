"""A run that is killed, wherever it stands, leaves nothing that hinders the next or could be taken for a result."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow

from healthrisk.bundle import Bundle

Pipeline = Callable[..., subprocess.CompletedProcess[str]]
REGISTER = "[9/9]"
# When to kill: after so many seconds in a step. Registering is where files and database entries appear.
MOMENTS = [("[1/9]", 0.3), ("[4/9]", 1.0), (REGISTER, 2.5), (REGISTER, 3.3), (REGISTER, 4.1)]


def killed(home: Path, arguments: tuple[str, ...], step: str, wait: float, root: Path) -> None:
    """Run the pipeline until a step, and kill all its processes after a while."""
    command = [sys.executable, str(root / "pipelines/train_pipeline.py"), *arguments]
    environment = {**os.environ, "HEALTHRISK_HOME": str(home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True
    ) as running:
        assert running.stdout is not None
        while not (line := running.stdout.readline()).startswith(step):
            assert line, "the run ended before it was killed"
        time.sleep(wait)
        os.killpg(running.pid, signal.SIGKILL)


def sound(home: Path) -> None:
    """Check that whatever is visible is whole, and that every registered version has its bundle."""
    for path in home.glob("bundles/*/*"):
        if not path.name.startswith("."):
            Bundle.open(path, path.name)
    assert all(path.read_text().endswith("</html>") for path in home.glob("reports/*.html"))
    if (home / "mlflow.db").exists():
        client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        for version in client.search_model_versions(""):
            uri = version.tags["uri"]
            Bundle.open(Path(uri.removeprefix("file://")), version.tags["digest"])


def test_a_killed_run_hinders_nothing(own: tuple[str, ...], tmp_path: Path, root: Path, pipeline: Pipeline) -> None:
    for step, wait in MOMENTS:
        killed(tmp_path, own, step, wait, root)
        sound(tmp_path)
    done = pipeline(tmp_path, *own)
    assert done.returncode == 0, done.stdout + done.stderr
    sound(tmp_path)
    assert len(list(tmp_path.glob("bundles/readmission/*"))) == 1
    assert not list(tmp_path.rglob(".writing-*"))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (version,) = client.search_model_versions("")
    assert client.get_model_version_by_alias("readmission", "champion").version == version.version
