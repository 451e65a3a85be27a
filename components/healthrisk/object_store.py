"""Addresses of files and of an S3-compatible object store."""

import os
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import EnvAWSProvider
from minio.error import MinioException, S3Error
from minio.helpers import ObjectWriteResult
from minio.sse import Sse, SseKMS, SseS3
from urllib3.exceptions import HTTPError

from healthrisk.config import KMS, Settings
from healthrisk.errors import StoreError
from healthrisk.retry import http_retries

_CONNECT_SECONDS, _READ_SECONDS = 10, 300
_TAKEN = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT)
_ENCRYPTED = "X-Amz-Server-Side-Encryption"
_NO_LOCKS = {"ObjectLockConfigurationNotFoundError", "NotImplemented"}


def path_of(uri: str) -> Path:
    """Return the path that a file:// address names."""
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(uri).path))


class ObjectStore(Minio):
    """A client that asks for the configured encryption of all that it puts, and takes no store's silence for a yes."""

    encryption: Sse | None = None

    def put_object(self, *args: Any, **options: Any) -> ObjectWriteResult:
        """Do as minio's own, which puts files by this, too.

        Raises:
            MinioException: as for minio's own, or what is there now is not encrypted as it was to be.
        """
        return self._encrypted(super().put_object(*args, **options | {"sse": self.encryption}))

    def create_object(self, bucket: str, name: str, data: bytes) -> bool:
        """Put an object that is not there yet, whole; return False where it is there.

        Raises:
            MinioException: as for `put_object`.
        """
        headers: dict[str, Any] = {"If-None-Match": "*"} | (self.encryption.headers() if self.encryption else {})
        try:
            self._encrypted(self._put_object(bucket, name, data, headers))
        except S3Error as error:
            if error.response.status in _TAKEN:
                return False
            raise
        return True

    def _encrypted(self, written: ObjectWriteResult) -> ObjectWriteResult:
        if self.encryption:
            asked = self.encryption.headers()[_ENCRYPTED]
            bucket, name = written.bucket_name, written.object_name
            # Of an object put in parts a store may say it only when it is asked.
            if _said(written.http_headers) != asked and _said(self.stat_object(bucket, name).metadata) != asked:
                raise MinioException(
                    f"the store does not say that {name} is encrypted by {asked}, as HEALTHRISK_S3_ENCRYPTION asks"
                )
        return written


def _said(headers: Any) -> str:
    return str({name.lower(): value for name, value in (headers or {}).items()}.get(_ENCRYPTED.lower(), ""))


def s3_client(where: Settings) -> ObjectStore:
    """Return a client for the configured endpoint; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Raises:
        StoreError: the endpoint is not an http:// or https:// address.
    """
    endpoint = urllib.parse.urlsplit(where.s3_endpoint)
    if endpoint.scheme not in {"http", "https"} or not endpoint.netloc:
        raise StoreError(f"AWS_ENDPOINT_URL {where.s3_endpoint!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
    secure = endpoint.scheme == "https"
    # As the client's own, but for what is tried again.
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        retries=http_retries(),
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    client = ObjectStore(
        endpoint.netloc, credentials=EnvAWSProvider(), secure=secure, region=where.s3_region, http_client=pool
    )
    if where.s3_encryption:
        _, _, key = where.s3_encryption.partition(KMS)
        client.encryption = SseKMS(key, {}) if key else SseS3()
    return client


def has_locks(client: Minio, bucket: str) -> bool:
    """Return whether a bucket keeps locked objects from being removed (S3's object lock).

    Raises:
        StoreError: the store does not answer, or does not let one ask.
    """
    try:
        client.get_object_lock_config(bucket_name=bucket)
    except (MinioException, HTTPError) as error:
        if isinstance(error, S3Error) and error.code in _NO_LOCKS:
            return False
        raise StoreError(f"object store: bucket {bucket} cannot be asked for its locks: {error}") from error
    except ValueError:
        # It has them, and no time of its own for what is put into it: that the client cannot read.
        return True
    return True
