"""The drill: a database in a real PostgreSQL and bundles in a real S3 server are lost, and come back."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import yaml
from minio import Minio
from minio.error import S3Error
from minio.retention import Retention

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.inference.scorer import Scorer, golden_matrix
from healthrisk.object_store import s3_client
from healthrisk.operations import backup, cluster_backup, home_backup
from healthrisk.operations.backup import BackupError
from healthrisk.operations.cluster_backup import Lock, Locks, Restored
from healthrisk.records.carrier import carry
from healthrisk.records.places import open_place
from healthrisk.records.signature import signing_key
from healthrisk.records.verify import Rules, verify
from healthrisk.registry import placement, versions
from tests.support import sample_bundle
from tests.support.commands import healthrisk
from tests.support.damage import damaged
from tests.support.manifest_rules import ROOT, Document, containers
from tests.support.patience import run
from tests.support.postgres import program
from tests.support.records import write_chain
from tests.support.s3 import served
from tests.support.servers import free_ports

NAME, LOCKED = "backup-drill", "backup-drill-locked"


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """A database of its own, empty."""
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE mlflow"))
    yield postgres.rpartition("/")[0] + "/mlflow"
    with engine.connect() as connection:
        connection.execute(sa.text("DROP DATABASE mlflow WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def client(endpoint: str) -> Iterator[Minio]:
    """A client of a store with an empty bucket."""
    connected = s3_client(settings())
    connected.make_bucket(bucket_name=NAME)
    yield connected
    empty(connected)
    connected.remove_bucket(bucket_name=NAME)


def empty(client: Minio) -> None:
    for item in client.list_objects(bucket_name=NAME, recursive=True):
        client.remove_object(bucket_name=NAME, object_name=str(item.object_name))


@pytest.fixture
def made(bundle_of: Callable[..., Bundle]) -> Bundle:
    return bundle_of("heart-disease", "logistic_regression")


@pytest.fixture(scope="module")
def jobs() -> tuple[Document, Document]:
    """The jobs that back a cluster up and restore it, as the manifests have them."""
    folder = ROOT / "manifests" / "backup"
    return tuple(yaml.safe_load((folder / name).read_text()) for name in ("backup.yaml", "restore.yaml"))


def words(part: Document, name: str) -> list[str]:
    """Return what a container of a job runs."""
    ((_, container, _),) = (one for one in containers([part]) if one[0].endswith(f"/{name}"))
    return [*container["command"], *container.get("args", ())]


def on(database: str, command: list[str], dumps: Path) -> None:
    """Run a container's command of PostgreSQL's programs here: its host, user and folder become this machine's."""
    url = sa.make_url(database)
    here = {"--host=postgres": f"--host={url.host}", "--username=mlflow": f"--username={url.username}"}
    rest = [here.get(word, word).replace("/dumps", str(dumps)) for word in command[1:]]
    done = run([program(command[0]), f"--port={url.port}", *rest])
    assert done.returncode == 0, done.stderr


def test_what_was_lost_comes_back(
    database: str,
    client: Minio,
    made: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: tuple[Document, Document],
) -> None:
    save, restore = jobs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    decision = sample_bundle.decision(made.spec, "logistic_regression", 0.9, 7)
    uri = store.put(made, f"s3://{NAME}/bundles")
    placement.register_bundle(made, uri, decision, "", "nothing to compare")
    (tmp_path / "dumps").mkdir()
    on(database, words(save, "dump"), tmp_path / "dumps")
    saved = cluster_backup.save(tmp_path / "backups", tmp_path / "dumps", [NAME])
    # All is lost: every table, and every object.
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()
    empty(client)
    with pytest.raises(StoreError):
        store.fetch(uri, made.digest, tmp_path / "lost")
    (tmp_path / "restored").mkdir()
    # A pod may write into its volume's folder, which is another's.
    (tmp_path / "restored").chmod(0o777)
    assert cluster_backup.restore(saved, tmp_path / "restored") == Restored(len(made.manifest.files) + 1, unlocked=0)
    assert (tmp_path / "restored").stat().st_mode & 0o777 == 0o777
    on(database, words(restore, "database"), tmp_path / "restored")
    champion = versions.champion("heart-disease")
    assert champion is not None
    assert (champion.uri, champion.digest) == (uri, made.digest)
    bundle = store.fetch(champion.uri, champion.digest, tmp_path / "cache")
    answers = Scorer(bundle).probabilities(golden_matrix(bundle.spec, bundle.golden.rows))
    np.testing.assert_allclose(answers, bundle.golden.probability, atol=1e-6)


def test_a_dump_waits_until_the_network_lets_its_pod_through(database: str, jobs: tuple[Document, Document]) -> None:
    url = sa.make_url(database)
    limit, seconds, shell, option, text = words(jobs[0], "reach")
    for port, within, code in ((url.port, seconds, 0), (free_ports(1)[0], "2", 124)):
        here = text.replace("pg_isready --host=postgres", f"{program('pg_isready')} --host={url.host} --port={port}")
        assert run([limit, within, shell, option, here]).returncode == code


@pytest.fixture
def dumped(tmp_path: Path) -> Path:
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "mlflow.dump").write_text("a dump")
    return tmp_path / "dumps"


@pytest.mark.parametrize(
    "kind",
    [
        # With the counts of outcomes in it.
        "dumps/mlflow.dump",
        f"buckets/{NAME}/bundles/heart-disease/*/linear.json",
        f"buckets/{NAME}/bundles/heart-disease/*/MANIFEST.json",
        f"buckets/{NAME}/records/chain/00000001.jsonl.gz",
        f"buckets/{NAME}/records/chain/00000001.json",
    ],
)
def test_an_altered_backup_is_refused_before_anything_is_written(
    kind: str, client: Minio, made: Bundle, dumped: Path, tmp_path: Path
) -> None:
    store.put(made, f"s3://{NAME}/bundles")
    write_chain(tmp_path / "spool" / "chain", range(3))
    carry(tmp_path / "spool", open_place(f"s3://{NAME}/records"), signing_key("1" * 64), timedelta(days=184))
    saved = cluster_backup.save(tmp_path / "backups", dumped, [NAME])
    empty(client)
    (path,) = saved.glob(kind)
    for says in damaged(path):
        with pytest.raises(BackupError) as refused:
            cluster_backup.restore(saved, tmp_path / "restored")
        assert str(refused.value) == f"backup {saved}: {path.relative_to(saved)} is {says}"
        assert not (tmp_path / "restored").exists()
        assert list(client.list_objects(bucket_name=NAME, recursive=True)) == []


def test_a_backup_of_a_cluster_that_was_not_written_to_its_end_is_none(
    client: Minio, dumped: Path, tmp_path: Path
) -> None:
    whole, half = (cluster_backup.save(tmp_path / "backups", dumped, [NAME]) for _ in range(2))
    (half / "MANIFEST.json").unlink()
    assert backup.listed(tmp_path / "backups") == [whole]
    with pytest.raises(BackupError, match=rf"{half}: .*not written to its end; whole ones beside it: {whole.name}$"):
        cluster_backup.restore(half, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_what_was_locked_is_locked_again(
    client: Minio, dumped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record in a bucket with locks, restored to a store that has nothing but empty buckets."""
    client.make_bucket(bucket_name=LOCKED, object_lock=True)
    write_chain(tmp_path / "spool" / "chain", range(7))
    carry(tmp_path / "spool", open_place(f"s3://{LOCKED}/records"), signing_key("1" * 64), timedelta(days=184))
    client.put_object(bucket_name=LOCKED, object_name="free", data=BytesIO(b"x"), length=1)
    names = [str(item.object_name) for item in client.list_objects(bucket_name=LOCKED, recursive=True)]
    locks = {name: client.get_object_retention(bucket_name=LOCKED, object_name=name) for name in set(names) - {"free"}}
    saved = cluster_backup.save(tmp_path / "backups", dumped, [LOCKED])
    (tmp_path / "restored").mkdir()
    for place, has_locks in (("locks", True), ("none", False)):
        (tmp_path / place).mkdir()
        with served(tmp_path / place) as address, monkeypatch.context() as patched:
            patched.setenv("AWS_ENDPOINT_URL", address)
            other = s3_client(settings())
            other.make_bucket(bucket_name=LOCKED, object_lock=has_locks)
            restored = cluster_backup.restore(saved, tmp_path / "restored")
            assert restored == Restored(len(names), unlocked=0 if has_locks else len(locks))
            assert verify(open_place(f"s3://{LOCKED}/records"), Rules()).whole
            if has_locks:
                check_locked(other, {**locks, "free": None})
            else:
                said = healthrisk("restore", saved, "--dumps", tmp_path / "restored").stdout
                assert f"unlocked  {len(locks)} of them were locked" in said


def check_locked(client: Minio, locks: dict[str, Retention | None]) -> None:
    """Every object of LOCKED has its lock, which ends no earlier, and the store removes none that has one."""
    for name, lock in locks.items():
        there = client.stat_object(bucket_name=LOCKED, object_name=name)
        if lock is None:
            client.remove_object(bucket_name=LOCKED, object_name=name, version_id=there.version_id)
            continue
        now = client.get_object_retention(bucket_name=LOCKED, object_name=name)
        assert now is not None
        assert now.mode == lock.mode
        assert timedelta() <= now.retain_until_date - lock.retain_until_date <= timedelta(seconds=1)
        with pytest.raises(S3Error):
            client.remove_object(bucket_name=LOCKED, object_name=name, version_id=there.version_id)


def test_a_lock_that_has_ended_is_none(client: Minio, tmp_path: Path) -> None:
    """No store takes a lock until a time that is over."""
    lock = Lock(mode="COMPLIANCE", until=datetime.now(UTC) - timedelta(seconds=1))

    def fill(folder: Path) -> None:
        (folder / "buckets" / NAME).mkdir(parents=True)
        (folder / "buckets" / NAME / "old").write_text("x")
        Locks(objects={f"{NAME}/old": lock}).write(folder / "locks.json")

    saved = backup.make(tmp_path / "backups", fill)
    assert cluster_backup.restore(saved, tmp_path) == Restored(1, unlocked=0)


def test_what_has_not_changed_takes_no_room_twice_and_damage_is_not_passed_on(
    client: Minio, made: Bundle, dumped: Path, tmp_path: Path
) -> None:
    store.put(made, f"s3://{NAME}/bundles")
    first, second = (cluster_backup.save(tmp_path / "backups", dumped, [NAME]) for _ in range(2))
    (known,) = second.glob("buckets/*/bundles/heart-disease/*/linear.json")
    assert known.stat().st_nlink == 2
    known.write_text("damaged in both")
    third = cluster_backup.save(tmp_path / "backups", dumped, [NAME])
    backup.verify(third)
    with pytest.raises(BackupError, match=r"linear\.json is altered"):
        backup.verify(first)


def test_each_kind_is_refused_as_the_other(client: Minio, dumped: Path, tmp_path: Path) -> None:
    saved = cluster_backup.save(tmp_path / "backups", dumped, [NAME])
    with pytest.raises(BackupError, match="it is of a cluster"):
        home_backup.restore(saved, tmp_path / "home")
    (tmp_path / "some" / "reports").mkdir(parents=True)
    (tmp_path / "some" / "reports" / "r.html").write_text("r")
    with pytest.raises(BackupError, match="it is of the HEALTHRISK_HOME"):
        cluster_backup.restore(home_backup.save(tmp_path / "some", tmp_path / "homes"), tmp_path / "out")


def test_no_dump_and_no_bucket_are_named(client: Minio, dumped: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="bucket none cannot be read"):
        cluster_backup.save(tmp_path / "backups", dumped, ["none"])
    (dumped / "mlflow.dump").unlink()
    with pytest.raises(BackupError, match="holds no dump"):
        cluster_backup.save(tmp_path / "backups", dumped, [NAME])
    assert backup.listed(tmp_path / "backups") == []
