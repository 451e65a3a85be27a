"""Kubeflow Pipelines' database in a cluster's backup: lost in a real server, put back by the jobs' own words.

The server is MariaDB, or MySQL's own where MYSQLD names it. The jobs run MySQL's programs, of KFP's own version, and
use options that both know; here they are MariaDB's.
"""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from healthrisk.operations import cluster_backup
from healthrisk.operations.backup import BackupError
from tests.support.manifest_rules import ROOT, Document, containers, script
from tests.support.mariadb import MariaDB
from tests.support.patience import run, until

DATABASES = ("mlpipeline", "metadb", "cachedb")
# What KFP's tables have: keys to one another, long texts, bytes, words of every language.
TABLES = """
CREATE DATABASE mlpipeline CHARACTER SET utf8mb4; CREATE DATABASE metadb; CREATE DATABASE cachedb;
CREATE TABLE mlpipeline.experiments (UUID VARCHAR(64) PRIMARY KEY, Name VARCHAR(255) NOT NULL);
CREATE TABLE mlpipeline.run_details (
  UUID VARCHAR(64) PRIMARY KEY, ExperimentUUID VARCHAR(64) NOT NULL, WorkflowRuntimeManifest LONGTEXT NOT NULL,
  FOREIGN KEY (ExperimentUUID) REFERENCES mlpipeline.experiments (UUID)
);
CREATE TABLE metadb.Artifact (id INT AUTO_INCREMENT PRIMARY KEY, proto BLOB);
CREATE TABLE cachedb.execution_caches (ID BIGINT AUTO_INCREMENT PRIMARY KEY, ExecutionCacheKey VARCHAR(255));
INSERT INTO mlpipeline.experiments VALUES ('e', 'Herz-Kreislauf \U0001f9e1');
INSERT INTO metadb.Artifact (proto) VALUES (x'00ff0a27');
"""
PAIR = (
    "BEGIN; INSERT INTO mlpipeline.run_details VALUES (UUID(), 'e', REPEAT('x', 4000)); "
    "INSERT INTO cachedb.execution_caches (ExecutionCacheKey) VALUES ('k'); COMMIT;\n"
)
COUNTS = "SELECT (SELECT count(*) FROM mlpipeline.run_details), (SELECT count(*) FROM cachedb.execution_caches)"
CONTENT = "SELECT Name FROM mlpipeline.experiments; SELECT HEX(proto) FROM metadb.Artifact"


def lose(server: MariaDB) -> None:
    done = server.ask(" ".join(f"DROP DATABASE IF EXISTS {name};" for name in DATABASES))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def kubeflow(mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server with KFP's databases."""
    done = mariadb.ask(TABLES)
    assert done.returncode == 0, done.stderr
    yield mariadb
    lose(mariadb)


@pytest.fixture
def passwords(kubeflow: MariaDB, tmp_path: Path) -> dict[str, str]:
    """The accounts that `manifests/secrets` makes, by the script itself and a cluster that has every secret.

    kubectl is asked for one alone, which it makes here and writes down by the script's own template.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl here: make test-tools")
    made = {"backup": "of-the-backup", "restore": "of-the-restore"}
    values = " ".join(f"--from-literal={name}={password}" for name, password in made.items())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").write_text(
        f"""#!/bin/sh
shift 2
case "$*" in
  *"secret pipelines-database --output "*)
    exec {kubectl} create secret generic pipelines-database {values} --dry-run=client --output "$7" ;;
  *" exec "*) shift 6; exec "$@" --host=127.0.0.1 ;;
esac
"""
    )
    (tmp_path / "bin" / "kubectl").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{kubeflow.environment['PATH']}"
    for _ in range(2):
        done = script("manifests/secrets", **{**kubeflow.environment, "PATH": path, "OVERLAY": "small"})
        assert done.returncode == 0, done.stderr
        assert "no account" not in done.stdout
    return made


def work(name: str, folder: Path, server: MariaDB, password: str = "", **environment: str) -> tuple[int, str]:
    """Run a container of the jobs here, its folder made this one; return how it ended and what it said."""
    documents: list[Document] = [
        yaml.safe_load((ROOT / "manifests" / "backup" / one).read_text()) for one in ("backup.yaml", "restore.yaml")
    ]
    ((_, container, _),) = (one for one in containers(documents) if one[0].endswith(f"/{name}"))
    words = [word.replace("/dumps", str(folder)) for word in [*container["command"], *container["args"]]]
    place = {"KUBEFLOW_DATABASE": "127.0.0.1", "MYSQL_PWD": password, **environment}
    done = run(words, env={**server.environment, **place})
    return done.returncode, done.stdout + done.stderr


def saved(tmp_path: Path, server: MariaDB, passwords: dict[str, str]) -> Path:
    (tmp_path / "dumps").mkdir()
    assert work("dump-pipelines", tmp_path / "dumps", server, passwords["backup"]) == (0, "")
    return cluster_backup.save(tmp_path / "backups", tmp_path / "dumps", [])


class Writer:
    """Whoever goes on starting runs: each is two rows in two databases, in one transaction."""

    def __init__(self, server: MariaDB) -> None:
        command = ["mysql", "--user=root", "--host=127.0.0.1", "--batch"]
        self._client = subprocess.Popen(command, stdin=subprocess.PIPE, env=server.environment, text=True)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        assert self._client.stdin
        while not self._done.is_set():
            self._client.stdin.write(PAIR)
        self._client.stdin.close()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        assert self._client.wait() == 0


def test_runs_that_were_lost_come_back_as_they_were_at_one_moment(
    kubeflow: MariaDB, passwords: dict[str, str], tmp_path: Path, endpoint: str
) -> None:
    def runs() -> list[int]:
        return [int(count) for count in kubeflow.ask(COUNTS).stdout.split()]

    with Writer(kubeflow):
        until(lambda: runs()[0] > 300)
        backup = saved(tmp_path, kubeflow, passwords)
    written, content = runs(), kubeflow.ask(CONTENT).stdout
    lose(kubeflow)
    (tmp_path / "restored").mkdir()
    assert cluster_backup.restore(backup, tmp_path / "restored").objects == 0
    # Whoever puts it back a second time, as a job does that was ended midway, makes it no other.
    for _ in range(2):
        assert work("pipelines", tmp_path / "restored", kubeflow, passwords["restore"]) == (0, "")
        one, other = runs()
        assert one == other
        assert 300 < one < written[0]
        assert kubeflow.ask(CONTENT).stdout == content


@pytest.mark.parametrize("damage", ["altered", "cut"])
def test_a_dump_that_was_damaged_is_refused_by_its_name(
    damage: str, kubeflow: MariaDB, passwords: dict[str, str], tmp_path: Path
) -> None:
    backup = saved(tmp_path, kubeflow, passwords)
    dump = backup / "dumps" / "pipelines.sql"
    text = dump.read_text()
    dump.write_text(text.replace("Herz", "Hirn") if damage == "altered" else text[: len(text) // 2])
    with pytest.raises(BackupError, match=r"dumps/pipelines\.sql is altered"):
        cluster_backup.restore(backup, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_who_dumps_may_read_and_no_more(kubeflow: MariaDB, passwords: dict[str, str]) -> None:
    for statement in (
        "DELETE FROM mlpipeline.experiments",
        "DROP TABLE metadb.Artifact",
        "SELECT * FROM mysql.global_priv",
        "CREATE DATABASE other",
    ):
        assert "denied" in kubeflow.ask(statement, "backup", passwords["backup"]).stderr, statement
    for statement in ("SELECT * FROM mysql.global_priv", "CREATE DATABASE other", "CREATE USER somebody"):
        assert "denied" in kubeflow.ask(statement, "restore", passwords["restore"]).stderr, statement
    assert "denied" in kubeflow.ask("SELECT 1", "backup", "a guess").stderr


def test_a_dump_that_fails_ends_the_job_and_a_server_elsewhere_is_said(kubeflow: MariaDB, tmp_path: Path) -> None:
    code, said = work("dump-pipelines", tmp_path, kubeflow, KUBEFLOW_DATABASE="")
    assert code == 0
    assert "KUBEFLOW_DATABASE names none, so it is managed elsewhere" in said
    assert list(tmp_path.iterdir()) == []
    code, said = work("dump-pipelines", tmp_path, kubeflow, "a guess")
    assert code != 0
    assert "Access denied" in said
    code, said = work("pipelines", tmp_path / "none", kubeflow)
    assert (code, said) == (0, "Kubeflow Pipelines' database is not in this backup\n")
