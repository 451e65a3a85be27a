"""HEALTHRISK_HOME backed up and restored: what was trained, judged, registered and counted.

The folders of runs stay out of it: they hold patients' rows, and are removed in time.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from healthrisk.atomic import scratch_folder
from healthrisk.operations import backup
from healthrisk.operations.backup import BackupError

_DATABASES = ("mlflow.db", "outcomes.db")
# What a database names was there before it did, so the databases come first.
_FOLDERS = ("artifacts", "bundles", "reports", "records")


def save(home: Path, to: Path, keep: int = 0) -> Path:
    """Back a home up below a folder while it may be in use; return the backup.

    Raises:
        BackupError: there is nothing in it, or a database is damaged.
    """

    def fill(folder: Path) -> None:
        for name in _DATABASES:
            if (home / name).exists():
                _copy_database(home / name, folder / name)
        for name in _FOLDERS:
            if (home / name).exists():
                # What is being written is no part of it yet.
                shutil.copytree(home / name, folder / name, ignore=shutil.ignore_patterns(".writing-*"))

    return backup.make(to, fill, str(home), keep)


def restore(saved: Path, home: Path) -> None:
    """Make a home of a backup, where addresses name the new place; it appears whole.

    Raises:
        BackupError: the backup is not whole or is not of a home, something lies there already, or there is no room.
    """
    manifest = backup.verify(saved)
    if not manifest.home:
        raise BackupError(f"backup {saved}: it is of a cluster, not of a HEALTHRISK_HOME")
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: restore to another HEALTHRISK_HOME, or move it away")
    with backup.disk_errors(f"nothing was restored to {home}"), scratch_folder(home.parent) as scratch:
        for path in manifest.files:
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(saved / path, scratch / path)
        for name in _DATABASES:
            if name in manifest.files:
                _readdress(scratch / name, Path(manifest.home), home)
        if home.exists():
            home.rmdir()
        scratch.replace(home)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whoever writes to it meanwhile."""
    try:
        read = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)
        with closing(read), closing(sqlite3.connect(target)) as written:
            read.backup(written)
            ((integrity,),) = written.execute("PRAGMA integrity_check(1)")
    except sqlite3.Error as error:
        raise BackupError(f"{source} is damaged: {error}") from error
    if integrity != "ok":
        raise BackupError(f"{source} is damaged: {integrity}")


def _readdress(database: Path, old: Path, new: Path) -> None:
    """Let every address that lies below one folder lie below another: MLflow keeps whole ones."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                if kind.startswith(("VARCHAR", "TEXT", "CLOB")):
                    for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                        connection.execute(
                            f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '  # noqa: S608 - its own names
                            f'WHERE instr("{column}", ?)',
                            (f"{before}/", f"{after}/", f"{before}/"),
                        )
