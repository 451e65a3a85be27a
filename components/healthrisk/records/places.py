"""Where segments are kept: a folder, or below an address of the object store, under the same names in both."""

import io
import os
import tempfile
import urllib.parse
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

from minio.commonconfig import COMPLIANCE
from minio.error import MinioException
from minio.retention import Retention
from urllib3.exceptions import HTTPError

from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.object_store import has_locks, path_of, s3_client


class Place(Protocol):
    """Files by name, as `CHAIN/NUMBER.SUFFIX`."""

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all files of the chains whose names begin so."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        ...

    def write(self, name: str, data: bytes, keep_until: datetime) -> None:
        """Write a file, which nobody can remove before that time where the place can see to it."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet, whole; return False where it is there."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a file for good; return False where it is locked and has to stay for now."""
        ...


def open_place(address: str) -> Place:
    """Return the place at an address: a folder, file:///FOLDER or s3://BUCKET/PREFIX.

    Raises:
        StoreError: it is no such address, or there is no such folder or bucket.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "s3":
        return _Bucket(parts.netloc, parts.path.strip("/"))
    if parts.scheme not in {"", "file"}:
        raise StoreError(f"record {address!r}: expected a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    return _Folder(path_of(address) if parts.scheme else Path(address))


class _Folder:
    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise StoreError(f"record {str(folder)!r}: no such folder")
        self._folder = folder

    def names(self, prefix: str = "") -> list[str]:
        files = (path for path in self._folder.glob("*/*") if path.is_file())
        return [f"{path.parent.name}/{path.name}" for path in files if path.parent.name.startswith(prefix)]

    def read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise StoreError(f"record: {self._folder / name} cannot be read: {error.strerror}") from error

    def write(self, name: str, data: bytes, keep_until: datetime) -> None:  # noqa: ARG002 - a folder has no locks
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        temporary.write_bytes(data)
        temporary.replace(path)

    def create(self, name: str, data: bytes) -> bool:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-") as file:
                file.write(data)
                file.flush()
                # Read by whoever may read what servers write: a temporary file is its owner's alone.
                os.fchmod(file.fileno(), 0o640)
                os.fsync(file.fileno())
                # Unlike a rename it takes no other's place.
                path.hardlink_to(file.name)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(f"record: {path} cannot be written: {error.strerror}") from error
        return True

    def remove(self, name: str) -> bool:
        (self._folder / name).unlink(missing_ok=True)
        return True


class _Bucket:
    def __init__(self, bucket: str, prefix: str) -> None:
        self._client = s3_client(settings())
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        try:
            if not self._client.bucket_exists(bucket_name=bucket):
                raise StoreError(f"record: there is no bucket {bucket!r} at {settings().s3_endpoint}")
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"record: bucket {bucket} cannot be asked: {error}") from error

    @cached_property
    def _locks(self) -> bool:
        # Who only acts or reads need not be allowed to ask.
        return has_locks(self._client, self._bucket)

    def names(self, prefix: str = "") -> list[str]:
        begin = self._prefix + prefix
        try:
            listed = self._client.list_objects(bucket_name=self._bucket, prefix=begin, recursive=True)
            return [str(item.object_name).removeprefix(self._prefix) for item in listed]
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"record: bucket {self._bucket} cannot be listed: {error}") from error

    def read(self, name: str) -> bytes:
        try:
            answer = self._client.get_object(bucket_name=self._bucket, object_name=self._prefix + name)
            try:
                return answer.read()
            finally:
                answer.close()
                answer.release_conn()
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"record: {self._prefix}{name} cannot be read: {error}") from error

    def write(self, name: str, data: bytes, keep_until: datetime) -> None:
        try:
            self._client.put_object(
                bucket_name=self._bucket,
                object_name=self._prefix + name,
                data=io.BytesIO(data),
                length=len(data),
                # In this mode nobody shortens it: what must go is erased by its key.
                retention=Retention(COMPLIANCE, keep_until) if self._locks else None,
            )
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"record: {self._prefix}{name} cannot be written: {error}") from error

    def create(self, name: str, data: bytes) -> bool:
        try:
            return self._client.create_object(self._bucket, self._prefix + name, data)
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"record: {self._prefix}{name} cannot be written: {error}") from error

    def remove(self, name: str) -> bool:
        path = self._prefix + name
        try:
            # A bucket with locks keeps versions: without one named, what is removed is only hidden.
            version = self._locks and self._client.stat_object(bucket_name=self._bucket, object_name=path).version_id
            self._client.remove_object(bucket_name=self._bucket, object_name=path, version_id=version or None)
        except (MinioException, HTTPError, ValueError) as error:
            if self._locks and self._is_locked(path):
                return False
            raise StoreError(f"record: {path} cannot be removed: {error}") from error
        return True

    def _is_locked(self, path: str) -> bool:
        """Say whether an object's lock has still time to go."""
        with suppress(MinioException, HTTPError, ValueError):
            lock = self._client.get_object_retention(bucket_name=self._bucket, object_name=path)
            return lock is not None and lock.retain_until_date > datetime.now(UTC)
        return False
