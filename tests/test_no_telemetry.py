"""Nothing phones home: under strace the pipeline and the servers look up no name and try no address but their own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from tests.support import http
from tests.support.patience import PROCESS
from tests.support.servers import ROOT, Pair, Server, body_of, free_ports, grpc_code

# onnxruntime waits some seconds before it calls.
WATCHED_SECONDS = 15
# A server's between the bounds on gRPC and gRPC, and that of the processes a run forks its steps from.
_OWN_SOCKET = re.compile(r".*/(healthrisk-grpc-[^/]+/socket|pymp-[^/]+/listener-[^/]+)")
_ADDRESS = re.compile(
    r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"|sun_path=@?"([^"]+)"'
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tracer() -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here: make test-tools")


class Watched:
    """Commands whose attempts to reach anybody are recorded. Their environment is a user's: no mark of a test or CI,
    where some libraries keep quiet, and a home that is empty."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._trace = folder / "trace"
        self._command = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "--trace=connect,sendto,sendmsg,sendmmsg"]
        self._command += [f"--output={self._trace}"]
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        self._environment["HEALTHRISK_HOME"] = str(folder / "healthrisk")

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*self._command, sys.executable, *command], env=self._environment, cwd=ROOT)

    def run(self, *command: str) -> None:
        with self.start(*command) as process:
            assert process.wait(PROCESS) == 0

    def attempts(self) -> set[tuple[str, int]]:
        """Return whom the commands tried to reach: address and port, or a socket's path and 0; without their own
        sockets.
        """
        lines = self._trace.read_text().splitlines()
        addresses = {match for line in lines for match in _ADDRESS.findall(line)}
        # The C library looks for a cache of users and groups there.
        return {
            (address or path, int(port or 0))
            for port, address, path in addresses
            if path != "/var/run/nscd/socket" and not _OWN_SOCKET.fullmatch(path)
        }

    def traces_left(self) -> list[str]:
        """Return what lies in the home, besides the list of fonts."""
        return [str(path) for path in self.home.rglob("*") if path.is_file() and "matplotlib" not in path.parts]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_attempts_are_seen(watched: Watched) -> None:
    """So that silence below means something."""
    script = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.getaddrinfo("telemetry.invalid", 443)
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 4317), 0.1)
with contextlib.suppress(OSError):
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"", ("2001:db8::1", 9))
"""
    watched.run("-c", script)
    attempts = watched.attempts()
    assert {("192.0.2.1", 4317), ("2001:db8::1", 9)} <= attempts
    assert any(port == 53 or "resolve" in name for name, port in attempts)


def test_the_pipeline_and_batch_call_nobody(watched: Watched, own: tuple[str, ...], tmp_path: Path) -> None:
    watched.run("pipelines/train_pipeline.py", *own)
    (bundle,) = (path.parent for path in (tmp_path / "healthrisk" / "bundles").rglob("MANIFEST.json"))
    table, out = own[3], str(tmp_path / "scored.csv")
    watched.run("-m", "healthrisk", "predict", table, "--bundle", str(bundle), "--out", out, "--quiet")
    assert watched.attempts() == set()
    assert watched.traces_left() == []


@contextmanager
def serving(watched: Watched, bundle: Path, port: int) -> Iterator[Callable[[], None]]:
    """Run `make serve`; yield what asks for a prediction."""
    transformer = Server("transformer.py", bundle, Path(os.devnull), ports=[port, port + 1, port + 4])
    predictor = Server("predictor.py", bundle, Path(os.devnull), ports=[port + 2, port + 3, port + 5])
    pair = Pair(transformer, predictor, Bundle.open(bundle))

    def ask() -> None:
        http.post(pair.predict_url, content=body_of(pair)).raise_for_status()
        assert grpc_code(pair).name == "OK"

    transformer.process = watched.start("kserve/serve.py", f"--bundle={bundle}", f"--port={port}")
    predictor.process = transformer.process
    try:
        transformer.wait()
        predictor.wait()
        yield ask
    finally:
        transformer.end(signal.SIGTERM)


@contextmanager
def explaining(watched: Watched, bundle: Path) -> Iterator[Callable[[], None]]:
    """Run the explainer alone; yield what asks for an explanation."""
    ports = free_ports(3)
    explainer = Server("explainer.py", bundle, Path(os.devnull), ports=ports)
    where = [f"--{name}_port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    body = body_of(Pair(explainer, explainer, Bundle.open(bundle)))

    def ask() -> None:
        http.post(f"{explainer.url}/v1/models/heart-disease:explain", content=body).raise_for_status()

    explainer.process = watched.start(
        "kserve/explainer.py", f"--bundle={bundle}", "--host=127.0.0.1", *where, "--drain_seconds=0"
    )
    try:
        explainer.wait()
        yield ask
    finally:
        explainer.end(signal.SIGTERM)


def test_the_servers_and_the_explainer_call_nobody(make_bundle: Callable[..., Path], port: int, tmp_path: Path) -> None:
    bundle = make_bundle("heart-disease", "logistic_regression")
    servers, alone = Watched(tmp_path / "servers"), Watched(tmp_path / "explainer")
    with serving(servers, bundle, port) as predict, explaining(alone, bundle) as explain:
        for ask in (predict, explain):
            ask()
        time.sleep(WATCHED_SECONDS)
        for ask in (predict, explain):
            ask()
    # The transformer asks the predictor, and `make serve` whether all three are ready.
    assert servers.attempts() == {("127.0.0.1", port), ("127.0.0.1", port + 2), ("127.0.0.1", port + 6)}
    assert alone.attempts() == set()
    assert servers.traces_left() == alone.traces_left() == []
