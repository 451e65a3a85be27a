"""Scratch folders: who writes holds a lock, and only what nobody holds is removed."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from healthrisk.atomic import scratch_folder

HOLD = """
import pathlib, sys, time
from healthrisk.atomic import scratch_folder
with scratch_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""

# As if killed in the instant between the folder and its lock.
DIE = """
import fcntl, os, pathlib, signal, sys
from healthrisk.atomic import scratch_folder
fcntl.flock = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with scratch_folder(pathlib.Path(sys.argv[1])):
    pass
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_live_folder_stays_and_a_killed_one_goes(tmp_path: Path) -> None:
    process, live = holder(tmp_path)
    with process:
        # As a process of another container sees it: the number in the name, or anywhere, is nobody's here.
        with scratch_folder(tmp_path) as own:
            assert own != live
            assert (live / "half").exists()
        assert not own.exists()
        process.kill()
    with scratch_folder(tmp_path):
        assert not live.exists()


def test_no_process_number_stands_in_its_name(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as own:
        assert str(os.getpid()) not in own.name.split("-")


def test_a_file_that_is_being_written_beside_it_stays(tmp_path: Path) -> None:
    (tmp_path / ".writing-1-page").write_text("half")
    with scratch_folder(tmp_path):
        assert (tmp_path / ".writing-1-page").exists()


def test_one_may_lie_within_another(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as outer, scratch_folder(outer) as inner:
        assert inner.parent == outer
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_before_it_holds_the_lock_leaves_nothing_for_good(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("instant", ["open", "flock"])
def test_a_folder_removed_before_it_is_held_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    module: Any = os if instant == "open" else fcntl
    real, removed = getattr(module, instant), []

    def remove_first(*arguments: Any) -> Any:
        monkeypatch.undo()
        removed.extend(tmp_path.iterdir())
        removed[0].rmdir()
        return real(*arguments)

    monkeypatch.setattr(module, instant, remove_first)
    with scratch_folder(tmp_path) as own:
        (own / "file").write_text("whole")
        assert own not in removed
        assert list(tmp_path.iterdir()) == [own]
    assert list(tmp_path.iterdir()) == []
