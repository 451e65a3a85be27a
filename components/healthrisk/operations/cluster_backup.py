"""A cluster's state backed up and restored: dumps of its databases and the buckets of its object store.

The databases' own programs write and read the dumps. What the store had locked is locked again.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException
from minio.retention import Retention
from urllib3.exceptions import HTTPError

from healthrisk.config import settings
from healthrisk.documents import Document
from healthrisk.errors import StoreError
from healthrisk.object_store import has_locks, s3_client
from healthrisk.operations import backup
from healthrisk.operations.backup import BackupError

_BUCKETS, _DUMPS, _LOCKS = "buckets", "dumps", "locks.json"
# What a store says of a locked object to whoever may read its lock.
_MODE, _UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"


class Lock(Document):
    """How the store keeps an object from being removed, and until when."""

    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    until: datetime


class Locks(Document):
    """The locks of a backup's objects, by BUCKET/NAME."""

    objects: dict[str, Lock]


@dataclass(frozen=True)
class Restored:
    """How many objects were put back, and how many of them lack the lock they had, as their bucket has none."""

    objects: int
    unlocked: int


def save(to: Path, dumps: Path, buckets: Sequence[str], keep: int = 0) -> Path:
    """Back up dumps that were written just before, then the buckets; return the backup.

    What a database names was in its bucket before, so the order is this one.

    Raises:
        BackupError: there is no dump.
        StoreError: the object store does not answer.
    """
    if not any(dumps.iterdir()):
        raise BackupError(f"{dumps} holds no dump of a database")

    def fill(folder: Path) -> None:
        shutil.copytree(dumps, folder / _DUMPS)
        client = s3_client(settings())
        locks: dict[str, Lock] = {}
        for bucket in buckets:
            locks |= _download(client, bucket, folder / _BUCKETS / bucket)
        if locks:
            Locks(objects=locks).write(folder / _LOCKS)

    return backup.make(to, fill, keep=keep)


def restore(saved: Path, dumps: Path) -> Restored:
    """Put a backup's objects into their buckets, and its dumps into a folder.

    Objects that are there already are written over; others stay. All of it can be repeated.

    Raises:
        BackupError: the backup is not whole, or is not of a cluster.
        StoreError: the object store does not answer, or has no such bucket.
    """
    manifest = backup.verify(saved)
    if manifest.home:
        raise BackupError(f"backup {saved}: it is of the HEALTHRISK_HOME {manifest.home}, not of a cluster")
    locks = Locks.read(saved / _LOCKS).objects if _LOCKS in manifest.files else {}
    held = {name: lock for name, lock in locks.items() if lock.until > datetime.now(UTC)}
    objects = [path.removeprefix(f"{_BUCKETS}/") for path in manifest.files if path.startswith(f"{_BUCKETS}/")]
    unlocked = _upload(saved / _BUCKETS, objects, held)
    for path in manifest.files:
        if path.startswith(f"{_DUMPS}/"):
            # Its bytes alone: the folder is a volume's, whose owner is another.
            shutil.copyfile(saved / path, dumps / Path(path).name)
    return Restored(len(objects), unlocked)


def _upload(folder: Path, objects: list[str], locks: dict[str, Lock]) -> int:
    """Put files named BUCKET/NAME into their buckets; return how many could not be locked as they are to be."""
    client = s3_client(settings())
    lockable = {bucket for bucket in {path.partition("/")[0] for path in locks} if has_locks(client, bucket)}
    unlocked = 0
    # A manifest last: an address with a manifest is a whole bundle.
    for path in sorted(objects, key=lambda path: path.endswith("MANIFEST.json")):
        bucket, _, name = path.partition("/")
        lock = locks.get(path)
        if lock and bucket not in lockable:
            lock, unlocked = None, unlocked + 1
        retention = Retention(lock.mode, lock.until) if lock else None
        file = str(folder / path)
        try:
            client.fput_object(bucket_name=bucket, object_name=name, file_path=file, retention=retention)
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"object store: {path} cannot be written: {error}") from error
    return unlocked


def _download(client: Minio, bucket: str, folder: Path) -> dict[str, Lock]:
    """Write a bucket's objects below a folder; return the locks of those that have one, by BUCKET/NAME."""
    locks: dict[str, Lock] = {}
    try:
        for item in client.list_objects(bucket_name=bucket, recursive=True):
            name = str(item.object_name)
            there = client.fget_object(bucket_name=bucket, object_name=name, file_path=str(folder / name))
            if lock := _lock_of(there):
                locks[f"{bucket}/{name}"] = lock
    except (MinioException, HTTPError, ValueError) as error:
        raise StoreError(f"object store: bucket {bucket} cannot be read: {error}") from error
    return locks


def _lock_of(there: Object) -> Lock | None:
    said = there.metadata or {}
    if _UNTIL not in said:
        return None
    lock = Lock.model_validate({"mode": said[_MODE], "until": said[_UNTIL]})
    # Some stores leave out parts of a second, and no lock is to end before it did.
    return lock.model_copy(update={"until": lock.until + timedelta(seconds=1)})
