"""A table in fragments: the CSV or Parquet files of a folder, or below an S3 prefix, in the order of their names.

What begins with `_` or `.` (an engine's marks, checksums, what is being written) is no fragment and is passed over.
Whatever else is not a fragment is an error: passed over, its rows would be missing from every figure.
"""

import hashlib
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio.error import MinioException
from urllib3.exceptions import HTTPError

from healthrisk.config import settings
from healthrisk.errors import SourceError, ValidationError
from healthrisk.object_store import path_of, s3_client

_HIDDEN = ("_", ".")


@dataclass(frozen=True)
class Fragment:
    """One file of a table: its name in the folder, its path or s3:// address, and there its ETag."""

    name: str
    uri: str
    etag: str = ""


def is_folder(address: str) -> bool:
    """True if an address is that of fragments: a folder, or an s3:// address that ends in /."""
    return address.endswith("/") if address.startswith("s3://") else _folder(address).is_dir()


def find_fragments(address: str) -> tuple[Fragment, ...]:
    """Return the fragments of a folder or prefix, in the order of their names.

    Raises:
        SourceError: it cannot be listed, has no fragment, has some of both formats, or something that is none.
    """
    tags = _list_prefix(address) if address.startswith("s3://") else dict.fromkeys(_list_folder(address), "")
    names = sorted(tags)
    kinds: dict[str, str] = {}
    for name in names:
        kind = name.rpartition(".")[2].lower()
        if kind not in {"csv", "parquet"}:
            raise SourceError(
                f"{_join(address, name)} is no fragment of a table: expected names that end in .csv or .parquet, or "
                "begin with _ or . to be passed over"
            )
        kinds.setdefault(kind, name)
    if not names:
        raise SourceError(f"{address} holds no .csv or .parquet file")
    if len(kinds) > 1:
        raise SourceError(f"{address} holds both {kinds['csv']} and {kinds['parquet']}: expected one format")
    return tuple(Fragment(name, _join(address, name), tags[name]) for name in names)


@contextmanager
def at_hand(fragment: Fragment) -> Iterator[Path]:
    """Yield a fragment's path on this machine; one in S3 is copied, and the copy removed afterwards.

    What is said to be wrong with it meanwhile names the fragment.

    Raises:
        SourceError: there is none, or the object store does not answer.
    """
    with ExitStack() as stack:
        path = Path(fragment.uri)
        if fragment.uri.startswith("s3://"):
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="healthrisk-fragment-"))
            path = Path(scratch) / fragment.name
            download(fragment.uri, path)
        try:
            yield path
        except (SourceError, ValidationError) as error:
            said = str(error).replace(str(path), fragment.uri)
            raise type(error)(said if fragment.uri in said else f"{fragment.uri}: {said}") from error


def download(uri: str, to: Path) -> None:
    """Copy an object of an object store to a file.

    Raises:
        SourceError: there is none, or the object store does not answer.
    """
    parts = urllib.parse.urlsplit(uri)
    try:
        s3_client(settings()).fget_object(
            bucket_name=parts.netloc, object_name=parts.path.lstrip("/"), file_path=str(to)
        )
    except (MinioException, HTTPError, ValueError) as error:
        raise SourceError(f"{uri} cannot be read: {error}") from error


def digest_of(digests: Iterable[tuple[str, str]]) -> str:
    """Return the one digest of fragments, given name and SHA-256 of each: as `sha256sum * | sha256sum` prints it."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


def _folder(address: str) -> Path:
    return path_of(address) if address.startswith("file:") else Path(address)


def _join(address: str, name: str) -> str:
    return address + name if address.startswith("s3://") else str(_folder(address) / name)


def _list_folder(address: str) -> list[str]:
    try:
        found = [path for path in _folder(address).iterdir() if not path.name.startswith(_HIDDEN)]
    except OSError as error:
        raise SourceError(f"{address} cannot be read: {error.strerror}") from error
    return [f"{path.name}/" if path.is_dir() else path.name for path in found]


def _list_prefix(address: str) -> dict[str, str]:
    """Return the ETags of what lies below a prefix, by name."""
    parts = urllib.parse.urlsplit(address)
    prefix = parts.path.lstrip("/")
    try:
        listed = s3_client(settings()).list_objects(bucket_name=parts.netloc, prefix=prefix)
        tags = {str(found.object_name).removeprefix(prefix): str(found.etag or "") for found in listed}
    except (MinioException, HTTPError, ValueError) as error:
        raise SourceError(f"{address} cannot be read: {error}") from error
    # A folder made by hand leaves an object of its own name.
    return {name: tag for name, tag in tags.items() if name and not name.startswith(_HIDDEN)}
