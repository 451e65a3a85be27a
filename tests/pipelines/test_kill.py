"""Registering that is killed, wherever it stands, leaves nothing that hinders the next or might pass for a result."""

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from tests.support import forked
from tests.support.launcher import STEP_IMPORTS, Launcher
from tests.support.patience import ANSWER, until
from tests.support.runs import check_registered, check_whole

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


def test_registering_may_be_killed_anywhere(launched: Launcher, tmp_path: Path) -> None:
    launcher = Launcher(launched.parameters, tmp_path)
    launcher.artifacts = dict(launched.artifacts)
    home = tmp_path / "home"
    for reached in MOMENTS:
        command, environment, _ = launcher.python_command("register")
        with (tmp_path / "log").open("ab") as log:
            running = forked.fork(command, log, environment, STEP_IMPORTS, folder=tmp_path)
        until(lambda running=running, reached=reached: reached(home) or running.poll() is not None)
        assert running.poll() is None, "it ended before it was killed"
        running.send_signal(signal.SIGKILL)
        assert running.wait(ANSWER) == -signal.SIGKILL
        check_whole(home)
    launcher.run("register")
    check_registered(home)
