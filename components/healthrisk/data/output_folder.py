"""Where results of fragments go: a folder, or below an s3:// address. A file appears whole or not at all."""

import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from healthrisk import atomic
from healthrisk.config import settings
from healthrisk.data.sources import sha256
from healthrisk.errors import SourceError
from healthrisk.object_store import path_of, s3_client


class OutputFolder(Protocol):
    """Files by name, as `NAME` or `FOLDER/NAME`.

    Raises:
        SourceError: it cannot be read or written.
    """

    def scratch(self) -> AbstractContextManager[Path]:
        """Return a folder of this machine where a file is written before it is put; it is removed afterwards."""

    def put(self, path: Path, name: str) -> str:
        """Bring a file of `scratch` in, in place of what has its name; return its SHA-256."""

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file as it was put, empty where there is none."""

    def read(self, name: str) -> str:
        """Return a small file's text, empty where there is none."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder below, without the folder's."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


def open_output(address: str) -> OutputFolder:
    """Return the folder at an address, made where there is none: a path, file:///FOLDER or s3://BUCKET/PREFIX/.

    Raises:
        SourceError: it is a file, or cannot be made.
    """
    if address.startswith("s3://"):
        parts = urllib.parse.urlsplit(address)
        return _Bucket(parts.netloc, f"{parts.path.strip('/')}/".lstrip("/"))
    return _Folder(path_of(address) if address.startswith("file:") else Path(address))


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _translated(str(folder)):
            folder.mkdir(exist_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with atomic.scratch_folder(self._folder) as scratch:
            yield scratch

    def put(self, path: Path, name: str) -> str:
        digest, to = sha256(path), self._folder / name
        with _translated(str(to)):
            to.parent.mkdir(exist_ok=True)
            path.replace(to)
        return digest

    def digest(self, name: str) -> str:
        path = self._folder / name
        return sha256(path) if path.is_file() else ""

    def read(self, name: str) -> str:
        path = self._folder / name
        return path.read_text("utf-8") if path.is_file() else ""

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self._folder / folder).glob("*") if not path.name.startswith("."))

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class _Bucket:
    """Objects below a prefix; each says its digest itself, as it is put with its bytes."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = s3_client(settings()), bucket, prefix

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="healthrisk-fragment-") as scratch:
            yield Path(scratch)

    def put(self, path: Path, name: str) -> str:
        digest, key = sha256(path), self._prefix + name
        with _translated(self._address(name)):
            self._client.fput_object(self._bucket, key, file_path=str(path), metadata={"sha256": digest})
        return digest

    def digest(self, name: str) -> str:
        try:
            with _translated(self._address(name)):
                said = self._client.stat_object(self._bucket, self._prefix + name).metadata or {}
        except _AbsentError:
            return ""
        return str(said.get("x-amz-meta-sha256", ""))

    def read(self, name: str) -> str:
        try:
            with _translated(self._address(name)):
                answer = self._client.get_object(self._bucket, self._prefix + name)
                try:
                    return str(answer.read().decode())
                finally:
                    answer.close()
                    answer.release_conn()
        except _AbsentError:
            return ""

    def names(self, folder: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        with _translated(self._address(folder)):
            listed = self._client.list_objects(bucket_name=self._bucket, prefix=prefix)
            return [str(found.object_name).removeprefix(prefix) for found in listed]

    def remove(self, name: str) -> None:
        with _translated(self._address(name)):
            self._client.remove_object(self._bucket, self._prefix + name)

    def _address(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}"


class _AbsentError(SourceError):
    """There is no such object."""


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        kind = _AbsentError if error.code == "NoSuchKey" else SourceError
        raise kind(f"{where}: {error.code}: {error.message}") from error
    except (MinioException, HTTPError, ValueError, OSError) as error:
        raise SourceError(f"{where} cannot be read or written: {error}") from error
