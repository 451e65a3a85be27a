"""A real container registry of this machine's, and small images in it."""

import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import patience
from tests.support.servers import free_ports

TOOLS = {"PATH": f"{Path(__file__).parents[2] / '.tools'}:{os.environ['PATH']}"}


@contextmanager
def container_registry() -> Iterator[str]:
    """Yield HOST:PORT of an empty registry; without crane, which is one, the test skips."""
    crane = shutil.which("crane", path=TOOLS["PATH"])
    if crane is None:
        pytest.skip("there is no crane here: make test-tools")
    (port,) = free_ports(1)
    command = [crane, "registry", "serve", f"--address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            patience.until(lambda: process.poll() is not None or _listens(port))
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def push_image(address: str, file: Path) -> None:
    """Push an image of one layer with one file."""
    layer = file.with_suffix(".tar")
    with tarfile.open(layer, "w") as archive:
        archive.add(file, f"etc/{file.name}")
    crane("append", f"--new_layer={layer}", f"--new_tag={address}")


def crane(*words: str) -> str:
    """Return what crane printed."""
    done = patience.run(["crane", *words], env=os.environ | TOOLS)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
