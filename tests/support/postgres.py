"""A real PostgreSQL on a free port."""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import ANSWER, run, until
from tests.support.servers import free_ports


def _programs() -> Path | None:
    """Return the folder of the newest server: Debian keeps it off the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    installed = shutil.which("initdb")
    return versions[-1].parent if versions else Path(installed).parent if installed else None


def program(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs."""
    programs = _programs()
    if programs is None or not (programs / name).exists():
        pytest.skip(f"there is no {name} here: make test-tools")
    return programs / name


def _user() -> dict[str, str | int]:
    """The options of a subprocess that is not root's: PostgreSQL refuses to be."""
    if os.geteuid():
        return {}
    owner = next(entry for entry in pwd.getpwall() if entry.pw_name in {"postgres", "nobody"} or entry.pw_uid >= 1000)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": ()}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of an empty database of a server that this worker alone uses."""
    programs = _programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL here: make test-tools")
    # Not pytest's folder, which only its user may enter.
    with contextlib.ExitStack() as stack:
        folder = Path(run(["mktemp", "--directory", "/tmp/postgres-XXXXXX"], **_user()).stdout.strip())
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        made = run([programs / "initdb", "--auth=trust", "--username=tests", "--no-sync", folder], cwd="/", **_user())
        assert made.returncode == 0, made.stdout + made.stderr
        (port,) = free_ports(1)
        command = [
            programs / "postgres",
            "-D",
            folder,
            "-p",
            str(port),
            "-k",
            folder,
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **_user())
        stack.callback(server.wait, ANSWER)
        stack.callback(server.terminate)
        ready = [programs / "pg_isready", "--host=127.0.0.1", f"--port={port}", "--quiet"]
        until(lambda: run(ready).returncode == 0, (folder / "log").read_text)
        yield f"postgresql+psycopg2://tests@127.0.0.1:{port}/postgres"
