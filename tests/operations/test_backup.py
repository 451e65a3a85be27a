"""What is backed up can be restored, and what is not whole is refused by its name."""

import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from healthrisk.bundle import Bundle, store
from healthrisk.inference.scorer import Scorer, golden_matrix
from healthrisk.operations import backup, home_backup
from healthrisk.operations.backup import BackupError
from healthrisk.registry import placement, versions
from tests.support import sample_bundle
from tests.support.commands import healthrisk
from tests.support.damage import damaged
from tests.support.patience import run
from tests.support.runs import make

FILES = {
    "bundles/m/d/MANIFEST.json": "{}",
    "bundles/m/d/model.json": "1",
    "artifacts/1/plot.png": "p",
    "reports/r.html": "h",
    "records/actions/00000001.jsonl": '{"time": ""}\n',
}


@pytest.fixture(scope="module")
def trained(make_bundle: Callable[..., Path], empty_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HEALTHRISK_HOME whose registry has a champion with a bundle in the store."""
    home = tmp_path_factory.mktemp("some home")
    shutil.copy(empty_registry, home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HEALTHRISK_HOME", str(home))
        bundle = Bundle.open(make_bundle("heart-disease", "logistic_regression"))
        uri = store.put(bundle, (home / "bundles").as_uri())
        decision = sample_bundle.decision(bundle.spec, "logistic_regression", 0.9, 7)
        placement.register_bundle(bundle, uri, decision, "", "nothing to compare")
    (home / "runs" / "1" / "ingest").mkdir(parents=True)
    (home / "runs" / "1" / "ingest" / "table").write_text("a patient's row")
    return home


@pytest.mark.slow
def test_a_restored_home_has_the_champion_and_answers_its_golden_rows(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = make(trained, "backup", f"TO={tmp_path / 'backups'}")
    assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = backup.listed(tmp_path / "backups")
    assert not (saved / "runs").exists(), "rows of patients stay where they are"
    moved = trained.rename(trained.with_name("gone"))
    try:
        home = tmp_path / "another home"
        done = make(home, "restore", f"FROM={saved}")
        assert done.returncode == 0, done.stdout + done.stderr
        monkeypatch.setenv("HEALTHRISK_HOME", str(home))
        champion = versions.champion("heart-disease")
        assert champion is not None
        assert champion.uri.startswith((home / "bundles").as_uri())
        bundle = store.fetch(champion.uri, champion.digest, tmp_path / "cache")
        answers = Scorer(bundle).probabilities(golden_matrix(bundle.spec, bundle.golden.rows))
        np.testing.assert_allclose(answers, bundle.golden.probability, atol=1e-6)
    finally:
        moved.rename(trained)


def home_of(folder: Path) -> Path:
    """Fill a folder with a database and some files."""
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("CREATE TABLE versions (source VARCHAR(500), number INTEGER)")
        connection.execute("INSERT INTO versions VALUES (?, 1)", [f"{folder.as_uri()}/bundles/m/d"])
        connection.execute("INSERT INTO versions VALUES (?, 2)", [f"{folder.as_uri()}-other/bundles/m/d"])
    connection.close()
    with sqlite3.connect(folder / "outcomes.db") as connection:
        connection.execute("CREATE TABLE outcome_counts (bin INTEGER, events INTEGER)")
    connection.close()
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return home_of(tmp_path / "home")


def test_what_comes_back_is_what_was_there_and_addresses_name_the_new_place(small: Path, tmp_path: Path) -> None:
    home_backup.restore(home_backup.save(small, tmp_path / "backups"), tmp_path / "new")
    assert {path: (tmp_path / "new" / path).read_text() for path in FILES} == FILES
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as connection:
        sources = [source for (source,) in connection.execute("SELECT source FROM versions ORDER BY number")]
    connection.close()
    # A folder whose name only begins the same is another.
    assert sources == [f"{(tmp_path / 'new').as_uri()}/bundles/m/d", f"{small.as_uri()}-other/bundles/m/d"]


def alter(saved: Path) -> str:
    path = saved / "bundles/m/d/model.json"
    path.write_text("2")
    return "bundles/m/d/model.json is altered"


def cut(saved: Path) -> str:
    path = saved / "mlflow.db"
    path.write_bytes(path.read_bytes()[:-100])
    return "mlflow.db is altered"


def lose(saved: Path) -> str:
    (saved / "artifacts/1/plot.png").unlink()
    return "artifacts/1/plot.png is missing"


def add(saved: Path) -> str:
    (saved / "bundles/extra").write_text("x")
    return "bundles/extra is not of this backup"


@pytest.mark.parametrize("name", [*FILES, "mlflow.db", "outcomes.db"])
def test_whatever_is_damaged_is_refused_by_its_name(name: str, small: Path, tmp_path: Path) -> None:
    saved = home_backup.save(small, tmp_path / "backups")
    for says in damaged(saved / name):
        with pytest.raises(BackupError) as refused:
            home_backup.restore(saved, tmp_path / "new")
        assert str(refused.value) == f"backup {saved}: {name} is {says}"
        assert not (tmp_path / "new").exists()
    home_backup.restore(saved, tmp_path / "new")


def half(saved: Path) -> str:
    (saved / "MANIFEST.json").unlink()
    return "it has no MANIFEST.json: it was not written to its end; whole ones beside it: none"


def garble(saved: Path) -> str:
    (saved / "MANIFEST.json").write_text("{")
    return "MANIFEST.json is altered"


@pytest.mark.parametrize("harm", [alter, cut, lose, add, half, garble])
def test_a_backup_that_is_not_whole_is_refused_by_its_name(
    harm: Callable[[Path], str], small: Path, tmp_path: Path
) -> None:
    saved = home_backup.save(small, tmp_path / "backups")
    says = harm(saved)
    with pytest.raises(BackupError) as refused:
        home_backup.restore(saved, tmp_path / "new")
    assert str(refused.value) == f"backup {saved}: {says}"
    assert not (tmp_path / "new").exists()


def test_of_a_wrong_name_the_backups_that_are_there_are_said(small: Path, tmp_path: Path) -> None:
    saved = home_backup.save(small, tmp_path / "backups")
    with pytest.raises(BackupError, match=f"whole ones beside it: {saved.name}$"):
        home_backup.restore(saved.with_name("20260101T000000.000000Z"), tmp_path / "new")


def test_of_no_folder_it_is_said_that_there_is_none(tmp_path: Path) -> None:
    done = healthrisk("restore", tmp_path / "none", HEALTHRISK_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert (
        done.stderr == f"healthrisk: backup {tmp_path / 'none'}: there is no such folder; whole ones beside it: none\n"
    )


def test_a_place_that_takes_nothing_is_named(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = healthrisk("backup", f"--to={tmp_path / 'file'}", HEALTHRISK_HOME=str(small))
    assert done.returncode == 1
    assert done.stderr.startswith(f"healthrisk: nothing was backed up to {tmp_path / 'file'}: ")
    saved = home_backup.save(small, tmp_path / "backups")
    with pytest.raises(BackupError, match=f"nothing was restored to {tmp_path / 'file' / 'home'}: .*File exists"):
        home_backup.restore(saved, tmp_path / "file" / "home")


def test_a_full_disk_is_said_and_leaves_no_half_of_a_backup(small: Path, small_disk: Path, tmp_path: Path) -> None:
    first = home_backup.save(small, small_disk)
    (small / "reports" / "large.html").write_bytes(bytes(2**20))
    with pytest.raises(BackupError, match=f"nothing was backed up to {small_disk}: .*No space left on device"):
        home_backup.save(small, small_disk)
    assert list(small_disk.iterdir()) == [first]
    home_backup.restore(first, tmp_path / "new")
    saved = home_backup.save(small, tmp_path / "backups")
    with pytest.raises(BackupError, match=r"nothing was restored to .*No space left on device"):
        home_backup.restore(saved, small_disk / "home")
    assert not (small_disk / "home").exists()


def test_what_is_there_is_not_written_over(small: Path, tmp_path: Path) -> None:
    saved = home_backup.save(small, tmp_path / "backups")
    with pytest.raises(BackupError, match="is not empty"):
        home_backup.restore(saved, small)
    (tmp_path / "empty").mkdir()
    home_backup.restore(saved, tmp_path / "empty")
    assert (tmp_path / "empty" / "mlflow.db").exists()


def test_nothing_and_a_damaged_database_are_no_backup(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="nothing to back up"):
        home_backup.save(tmp_path / "none", tmp_path / "backups")
    (small / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(BackupError, match=r"mlflow.db is damaged"):
        home_backup.save(small, tmp_path / "backups")
    assert backup.listed(tmp_path / "backups") == []


def test_only_the_newest_are_kept(small: Path, tmp_path: Path) -> None:
    made = [home_backup.save(small, tmp_path / "backups", keep=2) for _ in range(3)]
    assert backup.listed(tmp_path / "backups") == made[1:]


def test_a_number_of_backups_to_keep_is_none_below_zero(small: Path, tmp_path: Path) -> None:
    saved = home_backup.save(small, tmp_path / "backups")
    done = healthrisk("backup", f"--to={tmp_path / 'backups'}", "--keep=-1", HEALTHRISK_HOME=str(small))
    assert done.returncode == 2
    assert "'-1' is not a whole number from 0 up" in done.stderr
    assert backup.listed(tmp_path / "backups") == [saved]


def test_a_database_in_use_is_copied_as_of_one_moment(small: Path, tmp_path: Path) -> None:
    """A transaction that has not ended is no part of it."""
    with sqlite3.connect(small / "mlflow.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO versions VALUES ('half', 3)")
        saved = home_backup.save(small, tmp_path / "backups")
        connection.rollback()
    connection.close()
    with sqlite3.connect(saved / "mlflow.db") as copied:
        assert copied.execute("SELECT count(*) FROM versions").fetchone() == (2,)
    copied.close()


WRITING = """
import os, sys, pathlib
from healthrisk.operations import backup
def fill(folder):
    (folder / "half").write_text("x")
    print(folder, flush=True)
    os.kill(os.getpid(), 9)
backup.make(pathlib.Path(sys.argv[1]), fill)
"""


@pytest.mark.slow
def test_a_backup_that_was_killed_is_none_and_the_next_one_clears_it_away(small: Path, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", WRITING, tmp_path / "backups"])
    assert done.returncode == -9
    assert Path(done.stdout.strip()).exists()
    assert backup.listed(tmp_path / "backups") == []
    saved = home_backup.save(small, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == [saved]
