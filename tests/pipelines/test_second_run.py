"""What a run makes of what the one before has left: of the same table, with another seed, after one that was killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.runs import Pipeline, check_whole


def bundles(home: Path) -> set[Path]:
    return set(home.glob("bundles/readmission/*"))


def test_the_same_table_again_under_another_name_is_no_second_version(
    own: tuple[str, ...], own_home: Path, tmp_path: Path, pipeline: Pipeline
) -> None:
    before = bundles(own_home)
    shutil.copy(own[-1], tmp_path / "renamed.csv")
    done = pipeline(own_home, *own[:-1], str(tmp_path / "renamed.csv"))
    assert done.returncode == 0, done.stderr
    assert "version   readmission 1, champion: it is the champion already" in done.stdout
    assert bundles(own_home) == before
    first, second = (json.loads(path.read_text()) for path in own_home.glob("runs/*/evidence/judged"))
    assert first == second


def test_another_seed_is_another_version_though_its_first_run_was_killed(
    own: tuple[str, ...], own_home: Path, root: Path, pipeline: Pipeline
) -> None:
    """All processes of that one are killed, while one of them trains."""
    before = bundles(own_home)
    command = [sys.executable, str(root / "pipelines/train_pipeline.py"), *own, "--seed", "1"]
    environment = {**os.environ, "HEALTHRISK_HOME": str(own_home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True
    ) as running:
        assert running.stdout is not None
        while not (line := running.stdout.readline()).startswith("[4/9]"):
            assert line, "the run ended before it was killed"
        os.killpg(running.pid, signal.SIGKILL)
    check_whole(own_home)
    assert bundles(own_home) == before
    done = pipeline(own_home, *own, "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "readmission 2" in done.stdout
    check_whole(own_home)
    assert len(bundles(own_home) - before) == 1
    assert not list(own_home.rglob(".writing-*"))
