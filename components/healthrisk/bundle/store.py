"""The bundle store: immutable folders below a `file://` or `s3://` address.

A bundle's address ends in `<spec name>/<digest>`. In S3 the manifest is written last, so an address with a manifest is
whole; a folder becomes visible by one rename. Either way a kill leaves nothing that could be taken for a bundle.
"""

import re
import shutil
import tempfile
import urllib.parse
from pathlib import Path

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from healthrisk.atomic import scratch_folder
from healthrisk.bundle import MANIFEST, Bundle
from healthrisk.bundle.bundle import read_manifest
from healthrisk.bundle.signature import SIGNATURE, SignatureError
from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.object_store import path_of, s3_client

# Of a signature that is not there; the second to who may not list what is.
_ABSENT = {"NoSuchKey", "AccessDenied"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


def put(bundle: Bundle, root: str) -> str:
    """Copy a bundle below the store's address unless it is there already; return its own address.

    Of one that is there the signature is replaced by the bundle's own, if it has one.

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


def fetch(uri: str, digest: str | None, cache: Path, believed: str | None = None) -> Bundle:
    """Open the bundle at an address, every file checked; one in S3 is first copied below `cache`.

    A bare path is taken for a folder. `believed` are public keys in place of the configured ones.

    Raises:
        StoreError: there is no such bundle, or the store does not answer.
        BundleError: what is there is not whole, or is not the bundle that was asked for.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme in {"", "file"}:
        path = path_of(uri) if parts.scheme else Path(uri)
        if not path.is_dir():
            raise StoreError(f"bundle {uri!r}: no such folder")
        return Bundle.open(path, digest, believed)
    if parts.scheme != "s3":
        raise StoreError(f"bundle {uri!r}: expected a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    prefix = parts.path.strip("/")
    final = cache / parts.netloc / prefix
    if not final.is_dir():
        _get_objects(parts.netloc, prefix, digest, final)
    try:
        return Bundle.open(final, digest, believed)
    except SignatureError:
        # It may have been signed, or signed by the next key, since it was copied.
        _renew_signature(parts.netloc, prefix, final)
        return Bundle.open(final, digest, believed)


def sign(uri: str, key: str) -> Bundle:
    """Sign the bundle at an address, in place of who signed it before; `key` is PEM or a path. Return it as it was.

    An address that ends in a bundle's digest is that bundle's, or it is not signed.

    Raises:
        StoreError: there is no such bundle, or the store does not answer.
        BundleError: what is there is not whole, or is not what its address says.
        ConfigError: the key cannot be used.
    """
    parts = urllib.parse.urlsplit(uri)
    last = parts.path.rstrip("/").rpartition("/")[2]
    with tempfile.TemporaryDirectory(prefix="healthrisk-bundle-") as cache:
        found = fetch(uri, last if _DIGEST.fullmatch(last) else None, Path(cache), believed="")
        found.sign(key)
        if parts.scheme == "s3":
            name, path = f"{parts.path.strip('/')}/{SIGNATURE}", str(found.path / SIGNATURE)
            try:
                s3_client(settings()).fput_object(bucket_name=parts.netloc, object_name=name, file_path=path)
            except (MinioException, HTTPError, ValueError) as error:
                raise StoreError(f"bundle {uri}: {error}") from error
        return found


def _put_folder(bundle: Bundle, final: Path) -> None:
    with scratch_folder(final.parent) as scratch:
        if final.is_dir():
            if (bundle.path / SIGNATURE).exists():
                shutil.copyfile(bundle.path / SIGNATURE, scratch / SIGNATURE)
                (scratch / SIGNATURE).replace(final / SIGNATURE)
            Bundle.open(final, bundle.digest)
            return
        shutil.copytree(bundle.path, scratch, dirs_exist_ok=True)
        scratch.replace(final)


def _put_objects(bundle: Bundle, bucket: str, prefix: str) -> None:
    client = s3_client(settings())
    try:
        if not client.bucket_exists(bucket_name=bucket):
            raise StoreError(f"bundle store: there is no bucket {bucket!r} at {settings().s3_endpoint}")
        signature = [SIGNATURE] if (bundle.path / SIGNATURE).exists() else []
        for name in (*bundle.manifest.files, *signature, MANIFEST):
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
            _get_signature(client, bucket, prefix, scratch)
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"bundle s3://{bucket}/{prefix}: {error}") from error
        # A damaged copy must not stay: once the store is fixed, the next call copies it anew.
        # By whom it is signed is seen where it is opened: one who signs it anew need believe nobody.
        Bundle.open(scratch, digest, believed="")
        scratch.replace(final)


def _renew_signature(bucket: str, prefix: str, final: Path) -> None:
    with scratch_folder(final.parent) as scratch:
        try:
            _get_signature(s3_client(settings()), bucket, prefix, scratch)
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"bundle s3://{bucket}/{prefix}: {error}") from error
        if (scratch / SIGNATURE).exists():
            (scratch / SIGNATURE).replace(final / SIGNATURE)


def _get_signature(client: Minio, bucket: str, prefix: str, folder: Path) -> None:
    """Copy a bundle's signature, if it has one."""
    try:
        _get_object(client, bucket, prefix, folder, SIGNATURE)
    except S3Error as error:
        if error.code not in _ABSENT:
            raise


def _get_object(client: Minio, bucket: str, prefix: str, folder: Path, name: str) -> None:
    client.fget_object(bucket_name=bucket, object_name=f"{prefix}/{name}", file_path=str(folder / name))
