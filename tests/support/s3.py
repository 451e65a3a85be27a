"""A real S3 server with a bucket."""

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest
from minio import Minio

from tests.support.patience import until
from tests.support.servers import free_ports

BUCKET = "bundles"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running S3 server; yields its address."""
    server = shutil.which("versitygw")
    if server is None:
        pytest.skip("versitygw is not installed (make test-tools)")
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    keys = ["--access", "tests", "--secret", "testsecret"]
    # A bucket with locks has versions, as in every other store.
    versions = f"--versioning-dir={tmp_path_factory.mktemp('s3-versions')}"
    command = [server, "--port", address, *keys, "--quiet", "posix", versions, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        client = Minio(address, access_key="tests", secret_key="testsecret", secure=False)

        def listens() -> bool:
            assert running.poll() is None
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens)
        assert client.bucket_exists(bucket_name=BUCKET)
        yield f"http://{address}"
        running.terminate()


@pytest.fixture
def endpoint(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
    return s3
