"""A backup: one folder with a manifest that holds the digest of every other file in it.

It appears whole by one rename, and nothing is restored from one of which a file is missing, altered or not its own.
"""

import datetime
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from healthrisk.atomic import scratch_folder
from healthrisk.documents import Document
from healthrisk.errors import HealthriskError

_MANIFEST = "MANIFEST.json"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


class BackupError(HealthriskError):
    """A backup is not whole, there is nothing to back up, or something lies where it would be restored."""


class BackupManifest(Document):
    """What a backup holds: SHA-256 by path. `home` is the folder that addresses in it begin with, if it is of one."""

    made: datetime.datetime
    home: str = ""
    files: dict[str, str]


def make(to: Path, fill: Callable[[Path], object], home: str = "", keep: int = 0) -> Path:
    """Let `fill` write a backup's files into a new folder below `to`; return it once it is whole.

    Of the backups there the newest `keep` stay, this one among them; 0 keeps all.

    Raises:
        BackupError: there was nothing to write, or `to` does not take it.
    """
    made = datetime.datetime.now(datetime.UTC)
    with disk_errors(f"nothing was backed up to {to}"), scratch_folder(to) as scratch:
        fill(scratch)
        files = {path: _digest(scratch / path) for path in _paths(scratch)}
        if not files:
            raise BackupError(f"there is nothing to back up in {home or 'the places given'}")
        for before in listed(to)[-1:]:
            _share(before, scratch, files)
        BackupManifest(made=made, home=home, files=files).write(scratch / _MANIFEST)
        whole = scratch.replace(to / made.strftime(_STAMP))
    for old in listed(to)[:-keep] if keep else ():
        shutil.rmtree(old)
    return whole


def listed(to: Path) -> list[Path]:
    """Return the backups below a folder, the oldest first."""
    return sorted(path.parent for path in to.glob(f"[0-9]*/{_MANIFEST}"))


def verify(backup: Path) -> BackupManifest:
    """Return a backup's manifest after reading every file.

    Raises:
        BackupError: it has none, or a file is missing, altered, or not in it.
    """
    try:
        manifest = BackupManifest.read(backup / _MANIFEST)
    except OSError as error:
        what = f"it has no {_MANIFEST}: it was not written to its end" if backup.is_dir() else "there is no such folder"
        whole = ", ".join(path.name for path in listed(backup.parent)) or "none"
        raise BackupError(f"backup {backup}: {what}; whole ones beside it: {whole}") from error
    except ValidationError as error:
        raise BackupError(f"backup {backup}: {_MANIFEST} is altered") from error
    there = set(_paths(backup)) - {_MANIFEST}
    for path, digest in manifest.files.items():
        if path not in there:
            raise BackupError(f"backup {backup}: {path} is missing")
        if _digest(backup / path) != digest:
            raise BackupError(f"backup {backup}: {path} is altered")
    if added := sorted(there - set(manifest.files)):
        raise BackupError(f"backup {backup}: {added[0]} is not of this backup")
    return manifest


@contextmanager
def disk_errors(done: str) -> Iterator[None]:
    """Say what came of it where a folder is none, is another's, or is full.

    Raises:
        BackupError: it is so.
    """
    try:
        yield
    except OSError as error:
        # Of a tree that is copied it is a list: of each file the place, its copy and why.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise BackupError(f"{done}: {reason}") from error


def _share(before: Path, folder: Path, files: dict[str, str]) -> None:
    """Let files that the backup before holds, too, take no room of their own; a damaged one there is not used."""
    for path, digest in files.items():
        if (before / path).is_file() and _digest(before / path) == digest:
            (folder / path).unlink()
            (folder / path).hardlink_to(before / path)


def _paths(folder: Path) -> list[str]:
    """Return the files below a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
