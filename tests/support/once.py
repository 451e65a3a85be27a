"""What is made once a run, by whichever of its workers asks first."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a maker of folders: `once(name, fill)` gives the folder of that name, which `fill` has filled.

    All workers get the same folder, so a test that changes what lies there copies it first.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent / "once" if "PYTEST_XDIST_WORKER" in os.environ else base / "once"
    shared.mkdir(exist_ok=True)

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = shared / name, shared / f"{name}.filled"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make
