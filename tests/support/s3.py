"""A real S3 server with a bucket."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from minio import Minio

from tests.support.patience import until
from tests.support.servers import free_ports

BUCKET = "bundles"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run an S3 server whose buckets are a folder's subfolders; yield its address."""
    server = shutil.which("versitygw")
    if server is None:
        pytest.skip("versitygw is not installed (make test-tools)")
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    keys = ["--access", "tests", "--secret", "testsecret"]
    # A bucket with locks has versions, as in every other store.
    with tempfile.TemporaryDirectory() as versions:
        command = [server, "--port", address, *keys, "--quiet", "posix", f"--versioning-dir={versions}", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:

            def listens() -> bool:
                assert running.poll() is None
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            try:
                until(listens)
                yield f"http://{address}"
            finally:
                running.terminate()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running S3 server with a bucket; yields its address."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    with served(folder) as address:
        client = Minio(address.removeprefix("http://"), access_key="tests", secret_key="testsecret", secure=False)
        assert client.bucket_exists(bucket_name=BUCKET)
        yield address


@pytest.fixture
def endpoint(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
    return s3
