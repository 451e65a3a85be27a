"""A real MariaDB on a free port: Debian's server of MySQL's protocol, whose programs bear MySQL's names.

Where MYSQLD names MySQL's own server, it is that one, asked by MariaDB's programs.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.patience import ANSWER, run, until
from tests.support.servers import free_ports

_NAMES = {"mysql": "mariadb", "mysqldump": "mariadb-dump"}


@dataclass(frozen=True)
class MariaDB:
    """A server, and the environment in which MySQL's programs find it."""

    environment: dict[str, str]

    def ask(self, statements: str, user: str = "root", password: str = "") -> subprocess.CompletedProcess[str]:
        """Have statements carried out; return what was answered, without names of columns."""
        words = ["mysql", f"--user={user}", "--host=127.0.0.1", "--default-character-set=utf8mb4"]
        words += ["--skip-column-names", f"--execute={statements}"]
        return run(words, env={**self.environment, "MYSQL_PWD": password})


def _owner() -> dict[str, str | int]:
    """The options of a subprocess that is not root's: the server refuses to be."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    """A server that nobody else uses, with no database of its own and a root without a password, as KFP's."""
    own = os.environ.get("MYSQLD", "")
    server = own or shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    programs = {name: shutil.which(own) for name, own in _NAMES.items()}
    if server is None or not all(programs.values()):
        pytest.skip("there is no MariaDB here: make test-tools")
    with contextlib.ExitStack() as stack:
        # Not pytest's folder, which only its user may enter.
        folder = Path(run(["mktemp", "--directory", "/tmp/mariadb-XXXXXX"], **_owner()).stdout.strip())
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (port,) = free_ports(1)
        settings = ["--no-defaults", f"--datadir={folder}/data", "--innodb-buffer-pool-size=16M"]
        settings += ["--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"]
        install = ["mariadb-install-db", *settings, "--auth-root-authentication-method=normal", "--skip-test-db"]
        made = run([own, *settings, "--initialize-insecure"] if own else install, cwd="/", **_owner())
        assert made.returncode == 0, made.stdout + made.stderr
        listening = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder}/socket"]
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen([server, *settings, *listening], stdout=log, stderr=log, cwd="/", **_owner())
        stack.callback(running.wait, ANSWER)
        stack.callback(running.terminate)
        (folder / "bin").mkdir()
        for name, path in programs.items():
            (folder / "bin" / name).symlink_to(str(path))
        place = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "MYSQL_TCP_PORT": str(port)}
        started = MariaDB({**os.environ, **place})
        until(lambda: started.ask("SELECT 1").returncode == 0, (folder / "log").read_text)
        yield started
