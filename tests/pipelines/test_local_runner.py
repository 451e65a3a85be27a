"""How the local runner starts and ends processes, with two tasks that each wait until the other runs, too."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import psutil
import pytest

from tests.support.patience import ANSWER, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(joblib.cpu_count() < 2, reason="one core runs one task at a time: run it on a machine with two"),
]


@contextmanager
def two_tasks(folder: Path, root: Path, first: str, second: str) -> Iterator[subprocess.Popen[str]]:
    """Run both in a session of their own."""
    command = [sys.executable, str(root / "tests/pipelines/two_tasks.py"), first, second, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(root / "pipelines")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=root, start_new_session=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def steps(folder: Path) -> list[int]:
    """Return the processes of both, once both run."""
    files = [folder / "first", folder / "second"]
    until(lambda: all(file.exists() and file.read_text() for file in files))
    return [int(file.read_text()) for file in files]


def test_tasks_that_do_not_wait_for_each_other_run_at_the_same_time(tmp_path: Path, root: Path) -> None:
    with two_tasks(tmp_path, root, "end", "end") as running:
        printed, errors = running.communicate(timeout=ANSWER)
    assert (running.returncode, printed, errors) == (0, "", "")


def test_a_task_that_fails_ends_those_beside_it(tmp_path: Path, root: Path) -> None:
    with two_tasks(tmp_path, root, "sleep", "fail") as running:
        printed, errors = running.communicate(timeout=ANSWER)
    assert (running.returncode, printed, errors) == (1, "second failed\n", "")
    assert not any(map(psutil.pid_exists, steps(tmp_path)))


def test_an_interrupted_run_ends_its_steps(tmp_path: Path, root: Path) -> None:
    with two_tasks(tmp_path, root, "sleep", "sleep") as running:
        pids = steps(tmp_path)
        # A terminal interrupts all of its processes.
        os.killpg(running.pid, signal.SIGINT)
        printed, errors = running.communicate(timeout=ANSWER)
    assert (running.returncode, printed, errors) == (130, "", "interrupted\n")
    assert not any(map(psutil.pid_exists, pids))


def test_a_run_interrupted_while_a_step_begins_ends_it_too(tmp_path: Path, root: Path) -> None:
    with two_tasks(tmp_path, root, "interrupt", "sleep") as running:
        printed, errors = running.communicate(timeout=ANSWER)
    assert (running.returncode, printed, errors) == (130, "", "interrupted\n")
