"""Nothing phones home: under strace the pipeline and the servers look up no name and try no address but their own."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from tests.support import http
from tests.support.servers import Pair, Server, body_of, free_ports, grpc_code
from tests.support.traced import Traced

# onnxruntime waits some seconds before it calls.
WATCHED_SECONDS = 15

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tracer() -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here: make test-tools")


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


def test_attempts_are_seen(traced: Traced) -> None:
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
    assert traced.run("-c", script).returncode == 0
    attempts = traced.attempts()
    assert {("192.0.2.1", 4317), ("2001:db8::1", 9)} <= attempts
    assert any(port == 53 or "resolve" in name for name, port in attempts)


def test_the_pipeline_calls_nobody(own_home: Path) -> None:
    first_run = Traced(own_home.parent)
    assert first_run.attempts() == set()
    assert first_run.traces_left() == []


def test_batch_calls_nobody(make_bundle: Callable[..., Path], root: Path, traced: Traced, tmp_path: Path) -> None:
    table = root / "components/healthrisk/datasets/heart-disease.csv"
    words = ["predict", table, "--bundle", make_bundle(), "--out", tmp_path / "scored.csv", "--quiet"]
    done = traced.run("-m", "healthrisk", *words)
    assert done.returncode == 0, done.stderr
    assert traced.attempts() == set()
    assert traced.traces_left() == []


@contextmanager
def serving(traced: Traced, bundle: Path, port: int) -> Iterator[Callable[[], None]]:
    """Run `make serve`; yield what asks for a prediction."""
    transformer = Server("transformer.py", bundle, Path(os.devnull), ports=[port, port + 1, port + 4])
    predictor = Server("predictor.py", bundle, Path(os.devnull), ports=[port + 2, port + 3, port + 5])
    pair = Pair(transformer, predictor, Bundle.open(bundle))

    def ask() -> None:
        http.post(pair.predict_url, content=body_of(pair)).raise_for_status()
        assert grpc_code(pair).name == "OK"

    transformer.process = traced.start("kserve/serve.py", f"--bundle={bundle}", f"--port={port}")
    predictor.process = transformer.process
    try:
        transformer.wait()
        predictor.wait()
        yield ask
    finally:
        transformer.end(signal.SIGTERM)


@contextmanager
def explaining(traced: Traced, bundle: Path) -> Iterator[Callable[[], None]]:
    """Run the explainer alone; yield what asks for an explanation."""
    ports = free_ports(3)
    explainer = Server("explainer.py", bundle, Path(os.devnull), ports=ports)
    where = [f"--{name}_port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    body = body_of(Pair(explainer, explainer, Bundle.open(bundle)))

    def ask() -> None:
        http.post(f"{explainer.url}/v1/models/heart-disease:explain", content=body).raise_for_status()

    explainer.process = traced.start(
        "kserve/explainer.py", f"--bundle={bundle}", "--host=127.0.0.1", *where, "--drain_seconds=0"
    )
    try:
        explainer.wait()
        yield ask
    finally:
        explainer.end(signal.SIGTERM)


def test_the_servers_and_the_explainer_call_nobody(make_bundle: Callable[..., Path], port: int, tmp_path: Path) -> None:
    bundle = make_bundle("heart-disease", "logistic_regression")
    servers, alone = Traced(tmp_path / "servers"), Traced(tmp_path / "explainer")
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
