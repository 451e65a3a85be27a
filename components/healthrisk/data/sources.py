"""Where a table comes from: a file shipped with the package, a path, or an http, https, file or s3 address.

A folder, or an s3 address that ends in /, is a table in fragments.
"""

import hashlib
import importlib.resources
import itertools
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from healthrisk.config import settings
from healthrisk.data.fragments import Fragment, download, find_fragments, is_folder
from healthrisk.errors import SourceError
from healthrisk.object_store import path_of
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


@dataclass(frozen=True)
class Fragmented:
    """A table in fragments, wherever they lie: the name it goes by, its address, and the digest that the spec expects.

    `sha256` is empty where the spec names no digest.
    """

    name: str
    uri: str
    fragments: tuple[Fragment, ...]
    sha256: str = ""


def fetch(spec: DatasetSpec, data: str, scratch: Path) -> Fetched | Fragmented:
    """Bring the file that `data` names, or the spec's first source that can be had, to this machine.

    `data` is the name of one of the spec's sources, a path or an address. What is downloaded goes to `scratch`. A
    source's file is looked for in the folder HEALTHRISK_DATA first. A source's digest must be the spec's. Fragments
    stay where they are: whoever reads them compares their digest.

    Raises:
        SourceError: nothing can be read, or what was read is not what the spec says.
    """
    known = {source.name: source for source in (*spec.sources, *spec.external)}
    if data and data not in known:
        if is_folder(data):
            return Fragmented(PurePosixPath(data).name, data, find_fragments(data))
        path = _locate(data, scratch)
        digest = sha256(path)
        return Fetched(path, _known_name(spec, digest) or PurePosixPath(data).name, data, digest)
    if not data and not spec.sources:
        raise SourceError(f"the spec {spec.name!r} names no source: give a file of its schema with --data FILE")
    failures = []
    for source in [known[data]] if data else spec.sources:
        try:
            return _from_source(source, scratch)
        except SourceError as error:
            failures.append(str(error))
    raise SourceError("; ".join(failures))


def identify(spec: DatasetSpec, source: Fragmented, digest: str) -> str:
    """Return the name of fragments that were read and have this digest: a source's of the spec, or the folder's.

    Raises:
        SourceError: the spec expects another digest.
    """
    if source.sha256 not in {"", digest}:
        raise SourceError(f"{source.uri}: the SHA-256 of its fragments is {digest}, the spec expects {source.sha256}")
    return _known_name(spec, digest) or source.name


def _known_name(spec: DatasetSpec, digest: str) -> str | None:
    return next((source.name for source in (*spec.sources, *spec.external) if source.sha256 == digest), None)


def is_local(source: Source) -> bool:
    """True if a source needs no network: it ships with the package, is a file, or lies in HEALTHRISK_DATA."""
    return _in_data_folder(source) is not None or source.uri.partition(":")[0] not in {"http", "https", "s3"}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_source(source: Source, scratch: Path) -> Fetched | Fragmented:
    local = _in_data_folder(source)
    if is_folder(address := str(local or source.uri)):
        return Fragmented(source.name, source.uri, find_fragments(address), source.sha256)
    path = local or _unpacked(source, _locate(source.uri, scratch), scratch)
    digest = sha256(path)
    if digest != source.sha256:
        raise SourceError(f"{local or source.uri}: its SHA-256 is {digest}, the spec expects {source.sha256}")
    return Fetched(path, source.name, source.uri, digest)


def _in_data_folder(source: Source) -> Path | None:
    if (folder := settings().data) is None:
        return None
    path = folder / (source.member or PurePosixPath(source.uri).name)
    return path if path.exists() else None


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
            download(address, scratch / "download")
            return scratch / "download"
        case "file":
            path = path_of(address)
        case _:
            path = Path(address)
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
