"""Where a table comes from: a file shipped with the package, a path, or an http, https, file or s3 address."""

import hashlib
import importlib.resources
import itertools
import time
import urllib.parse
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from healthrisk.config import settings
from healthrisk.errors import SourceError
from healthrisk.object_store import path_of, s3_client
from healthrisk.retry import TRANSIENT, waits
from healthrisk.spec import DatasetSpec, Source

TIMEOUT = httpx.Timeout(30, connect=10)


@dataclass(frozen=True)
class Fetched:
    """A local file: its path, the name it goes by, its address, and the digest of its bytes."""

    path: Path
    name: str
    uri: str
    sha256: str


def fetch(spec: DatasetSpec, data: str, scratch: Path) -> Fetched:
    """Bring the file that `data` names, or the spec's first source that can be had, to this machine.

    `data` is the name of one of the spec's sources, a path or an address. What is downloaded goes to `scratch`. A
    source's file is looked for in the folder HEALTHRISK_DATA first. A source's digest must be the spec's.

    Raises:
        SourceError: nothing can be read, or what was read is not what the spec says.
    """
    known = {source.name: source for source in (*spec.sources, *spec.external)}
    if data and data not in known:
        path = _locate(data, scratch)
        digest = sha256(path)
        same = next((source.name for source in known.values() if source.sha256 == digest), PurePosixPath(data).name)
        return Fetched(path, same, data, digest)
    if not data and not spec.sources:
        raise SourceError(f"the spec {spec.name!r} names no source: give a file of its schema with --data FILE")
    failures = []
    for source in [known[data]] if data else spec.sources:
        try:
            return _from_source(source, scratch)
        except SourceError as error:
            failures.append(str(error))
    raise SourceError("; ".join(failures))


def is_local(source: Source) -> bool:
    """True if a source needs no network: it ships with the package, is a file, or lies in HEALTHRISK_DATA."""
    return _in_data_folder(source) is not None or source.uri.partition(":")[0] not in {"http", "https", "s3"}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_source(source: Source, scratch: Path) -> Fetched:
    local = _in_data_folder(source)
    path = local or _unpacked(source, _locate(source.uri, scratch), scratch)
    digest = sha256(path)
    if digest != source.sha256:
        raise SourceError(f"{local or source.uri}: its SHA-256 is {digest}, the spec expects {source.sha256}")
    return Fetched(path, source.name, source.uri, digest)


def _in_data_folder(source: Source) -> Path | None:
    if (folder := settings().data) is None:
        return None
    path = folder / (source.member or PurePosixPath(source.uri).name)
    return path if path.is_file() else None


def _unpacked(source: Source, path: Path, scratch: Path) -> Path:
    if not source.member:
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            return Path(archive.extract(source.member, scratch / "unpacked"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"{source.uri}: no zip archive with a file {source.member!r}: {error}") from error


def _locate(address: str, scratch: Path) -> Path:
    scheme, _, rest = address.partition(":")
    match scheme:
        case "package":
            path = Path(str(importlib.resources.files("healthrisk") / "datasets" / rest))
        case "http" | "https":
            return _download(address, scratch / "download")
        case "s3":
            return _from_bucket(address, scratch / "download")
        case "file":
            path = path_of(address)
        case _:
            path = Path(address)
    if path.is_dir():
        raise SourceError(f"{address} is a directory: expected a CSV or Parquet file")
    if not path.is_file():
        raise SourceError(f"{address}: no such file")
    return path


def _download(url: str, to: Path) -> Path:
    """Download, again while the server is busy for a moment: it answers 5xx or drops the connection."""
    cause = ""
    for wait in itertools.chain([0.0], waits()):
        time.sleep(wait)
        try:
            with httpx.stream("GET", url, timeout=TIMEOUT, follow_redirects=True) as response, to.open("wb") as out:
                if response.is_success:
                    for piece in response.iter_bytes():
                        out.write(piece)
                    return to
                cause = f"it answered {response.status_code}"
                if response.status_code not in TRANSIENT:
                    break
        except httpx.TransportError as error:
            cause = str(error) or type(error).__name__
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = str(error)
            break
    raise SourceError(f"{url} cannot be downloaded: {cause}")


def _from_bucket(address: str, to: Path) -> Path:
    parts = urllib.parse.urlsplit(address)
    try:
        s3_client(settings()).fget_object(
            bucket_name=parts.netloc, object_name=parts.path.lstrip("/"), file_path=str(to)
        )
    except (MinioException, HTTPError, ValueError) as error:
        raise SourceError(f"{address} cannot be read: {error}") from error
    return to
