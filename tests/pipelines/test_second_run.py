"""What a run makes of what the one before has left: killed, of the same table, or with another seed."""

import json
import os
import shutil
import sys
from pathlib import Path

from tests.support.patience import run
from tests.support.runs import TRAIN_AGAIN, Pipeline, check_registered, check_whole, kill_while_it_trains


def bundles(home: Path) -> set[Path]:
    return set(home.glob("bundles/readmission/*"))


def test_a_killed_first_run_hinders_nothing(own_home: Path) -> None:
    check_registered(own_home)


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
    own: tuple[str, ...], own_home: Path, root: Path
) -> None:
    """As the README's command trains again."""
    before = bundles(own_home)
    kill_while_it_trains(own_home, *own, "--seed", "1")
    check_whole(own_home)
    assert bundles(own_home) == before
    _, script, *arguments = TRAIN_AGAIN.split()
    environment = {**os.environ, "HEALTHRISK_HOME": str(own_home)}
    done = run([sys.executable, root / script, *arguments], cwd=own_home.parent, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "readmission 2" in done.stdout
    check_whole(own_home)
    assert len(bundles(own_home) - before) == 1
    assert not list(own_home.rglob(".writing-*"))
