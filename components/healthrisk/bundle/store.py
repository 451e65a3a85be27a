"""The bundle store: immutable folders below a `file://` or `s3://` address.

A bundle's address ends in `<spec name>/<digest>`. In S3 the manifest is written last, so an address with a manifest is
whole; a folder becomes visible by one rename. Either way a kill leaves nothing that could be taken for a bundle.
"""

import shutil
import urllib.parse
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from healthrisk.atomic import scratch_folder
from healthrisk.bundle import MANIFEST, Bundle
from healthrisk.bundle.bundle import read_manifest
from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.object_store import path_of, s3_client


def put(bundle: Bundle, root: str) -> str:
    """Copy a bundle below the store's address unless it is there already; return its own address.

    Raises:
        StoreError: the address has an unknown scheme, or the store does not take the files.
    """
    uri = f"{root.rstrip('/')}/{bundle.spec.name}/{bundle.digest}"
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        _put_folder(bundle, path_of(uri))
    elif parts.scheme == "s3":
        _put_objects(bundle, parts.netloc, parts.path.strip("/"))
    else:
        raise StoreError(f"bundle store {root!r}: expected file:///FOLDER or s3://BUCKET/PREFIX")
    return uri


def fetch(uri: str, digest: str | None, cache: Path) -> Bundle:
    """Open the bundle at an address, every file checked; one in S3 is first copied below `cache`.

    A bare path is taken for a folder.

    Raises:
        StoreError: there is no such bundle, or the store does not answer.
        BundleError: what is there is not whole, or is not the bundle that was asked for.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme in {"", "file"}:
        path = path_of(uri) if parts.scheme else Path(uri)
        if not path.is_dir():
            raise StoreError(f"bundle {uri!r}: no such folder")
        return Bundle.open(path, digest)
    if parts.scheme != "s3":
        raise StoreError(f"bundle {uri!r}: expected a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    prefix = parts.path.strip("/")
    final = cache / parts.netloc / prefix
    if not final.is_dir():
        _get_objects(parts.netloc, prefix, digest, final)
    return Bundle.open(final, digest)


def _put_folder(bundle: Bundle, final: Path) -> None:
    if final.is_dir():
        Bundle.open(final, bundle.digest)
        return
    with scratch_folder(final.parent) as scratch:
        shutil.copytree(bundle.path, scratch, dirs_exist_ok=True)
        scratch.replace(final)


def _put_objects(bundle: Bundle, bucket: str, prefix: str) -> None:
    client = s3_client(settings())
    try:
        if not client.bucket_exists(bucket_name=bucket):
            raise StoreError(f"bundle store: there is no bucket {bucket!r} at {settings().s3_endpoint}")
        for name in (*bundle.manifest.files, MANIFEST):
            client.fput_object(bucket_name=bucket, object_name=f"{prefix}/{name}", file_path=str(bundle.path / name))
    except (MinioException, HTTPError, ValueError) as error:
        raise StoreError(f"bundle store s3://{bucket}/{prefix}: {error}") from error


def _get_objects(bucket: str, prefix: str, digest: str | None, final: Path) -> None:
    client = s3_client(settings())
    with scratch_folder(final.parent) as scratch:
        try:
            _get_object(client, bucket, prefix, scratch, MANIFEST)
            for name in read_manifest(scratch, digest)[0].files:
                _get_object(client, bucket, prefix, scratch, name)
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"bundle s3://{bucket}/{prefix}: {error}") from error
        # A damaged copy must not stay: once the store is fixed, the next call copies it anew.
        Bundle.open(scratch, digest)
        scratch.replace(final)


def _get_object(client: Minio, bucket: str, prefix: str, folder: Path, name: str) -> None:
    client.fget_object(bucket_name=bucket, object_name=f"{prefix}/{name}", file_path=str(folder / name))
