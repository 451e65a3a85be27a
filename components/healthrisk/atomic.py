"""Files and folders that appear whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".writing-"


def write_text(path: Path, text: str) -> None:
    """Write a file under another name and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder below `parent`, to be renamed by the caller; whatever is left of it is removed.

    A killed process cannot clean up after itself, so the next one removes what nobody holds: who writes has a lock on
    the folder, which ends with the process, whatever number that has in whichever container.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for stale in parent.glob(f"{_PREFIX}*"):
        _remove_if_unheld(stale)
    scratch, held = _make_held(parent)
    scratch.chmod(0o755)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(held)


def _make_held(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock.

    Between the two another process may take it for a stale one and remove it: then the next one is made.
    """
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            held = os.open(scratch, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(held, fcntl.LOCK_SH)
        if scratch.exists():
            return scratch, held
        os.close(held)


def _remove_if_unheld(folder: Path) -> None:
    if not folder.is_dir():
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
