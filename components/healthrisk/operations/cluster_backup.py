"""A cluster's state backed up and restored: dumps of its databases and the buckets of its object store.

The databases' own programs write and read the dumps.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.object_store import s3_client
from healthrisk.operations import backup
from healthrisk.operations.backup import BackupError

_BUCKETS, _DUMPS = "buckets", "dumps"


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
        for bucket in buckets:
            _download(client, bucket, folder / _BUCKETS / bucket)

    return backup.make(to, fill, keep=keep)


def restore(saved: Path, dumps: Path) -> int:
    """Put a backup's objects into their buckets, and its dumps into a folder; return how many objects.

    Objects that are there already are written over; others stay. All of it can be repeated.

    Raises:
        BackupError: the backup is not whole, or is not of a cluster.
        StoreError: the object store does not answer, or has no such bucket.
    """
    manifest = backup.verify(saved)
    if manifest.home:
        raise BackupError(f"backup {saved}: it is of the HEALTHRISK_HOME {manifest.home}, not of a cluster")
    objects = [path.split("/", 2)[1:] for path in manifest.files if path.startswith(f"{_BUCKETS}/")]
    client = s3_client(settings())
    # A manifest last: an address with a manifest is a whole bundle.
    for bucket, name in sorted(objects, key=lambda pair: pair[1].endswith("MANIFEST.json")):
        try:
            client.fput_object(bucket_name=bucket, object_name=name, file_path=str(saved / _BUCKETS / bucket / name))
        except (MinioException, HTTPError, ValueError) as error:
            raise StoreError(f"object store: {bucket}/{name} cannot be written: {error}") from error
    for path in manifest.files:
        if path.startswith(f"{_DUMPS}/"):
            # Its bytes alone: the folder is a volume's, whose owner is another.
            shutil.copyfile(saved / path, dumps / Path(path).name)
    return len(objects)


def _download(client: Minio, bucket: str, folder: Path) -> None:
    try:
        for item in client.list_objects(bucket_name=bucket, recursive=True):
            name = str(item.object_name)
            client.fget_object(bucket_name=bucket, object_name=name, file_path=str(folder / name))
    except (MinioException, HTTPError, ValueError) as error:
        raise StoreError(f"object store: bucket {bucket} cannot be read: {error}") from error
