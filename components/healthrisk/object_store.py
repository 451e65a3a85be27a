"""Addresses of files and of an S3-compatible object store."""

import os
import urllib.parse
import urllib.request
from pathlib import Path

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import EnvAWSProvider
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from healthrisk.config import Settings
from healthrisk.errors import StoreError
from healthrisk.retry import http_retries

_CONNECT_SECONDS, _READ_SECONDS = 10, 300
_NO_LOCKS = {"ObjectLockConfigurationNotFoundError", "NotImplemented"}


def path_of(uri: str) -> Path:
    """Return the path that a file:// address names."""
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(uri).path))


def s3_client(where: Settings) -> Minio:
    """Return a client for the configured endpoint; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Raises:
        StoreError: the endpoint is not an http:// or https:// address.
    """
    endpoint = urllib.parse.urlsplit(where.s3_endpoint)
    if endpoint.scheme not in {"http", "https"} or not endpoint.netloc:
        raise StoreError(f"AWS_ENDPOINT_URL {where.s3_endpoint!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
    secure = endpoint.scheme == "https"
    return Minio(
        endpoint.netloc, credentials=EnvAWSProvider(), secure=secure, region=where.s3_region, http_client=s3_pool()
    )


def s3_pool() -> urllib3.PoolManager:
    """Return connections as the client's own, but for what is tried again."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        retries=http_retries(),
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )


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
