"""Real servers on free ports: started once, shared by every test of the session that does not break them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.predict import Scorer

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Server:
    """One server process."""

    script: str
    bundle: Path
    log: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> "Server":
        command = [sys.executable, str(ROOT / "kserve" / self.script), f"--bundle={self.bundle}", "--host=127.0.0.1"]
        command += [f"--http_port={self.ports[0]}", f"--grpc_port={self.ports[1]}", *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ | self.environment)
        return self

    def wait(self) -> "Server":
        """Wait until the server is ready."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/v2/health/ready", timeout=2).status_code == 200:
                    return self
            time.sleep(0.02)
        raise TimeoutError(self.log.read_text())

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        return self.process.wait(30)

    def rss(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


@dataclass
class Pair:
    """A transformer and its predictor."""

    transformer: Server
    predictor: Server
    bundle: Bundle

    @property
    def infer_url(self) -> str:
        return f"{self.transformer.url}/v2/models/{self.bundle.spec.name}/infer"

    @property
    def predict_url(self) -> str:
        return f"{self.transformer.url}/v1/models/{self.bundle.spec.name}:predict"

    def logs(self) -> str:
        return self.transformer.log.read_text() + self.predictor.log.read_text()

    def end(self) -> None:
        for server in (self.transformer, self.predictor):
            server.end()


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of bundles, each made once."""
    folder = tmp_path_factory.mktemp("bundles")

    @cache
    def make(dataset: str = "heart-disease", family: str = "random_forest", seed: int = 7) -> Path:
        script = Path(__file__).with_name("sample_bundle.py")
        command = [
            sys.executable,
            str(script),
            str(folder),
            f"--dataset={dataset}",
            f"--family={family}",
            f"--seed={seed}",
        ]
        return Path(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip())

    return make


@pytest.fixture(scope="session")
def start_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Return a starter of pairs of servers; whoever calls it ends them."""

    def start(bundle: Path, *options: str, environment: dict[str, str] | None = None) -> Pair:
        logs = tmp_path_factory.mktemp("servers")
        predictor = Server("predictor.py", bundle, logs / "predictor.log", options, environment or {})
        host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
        transformer = Server("transformer.py", bundle, logs / "transformer.log", (host, *options), environment or {})
        for server in (predictor, transformer):
            server.start()
        for server in (predictor, transformer):
            server.wait()
        return Pair(transformer, predictor, Bundle.open(bundle))

    return start


@pytest.fixture(scope="session")
def heart(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served forest on the heart data."""
    pair = start_pair(make_bundle(), "--max_rows=2000", f"--max_body_bytes={2**20}", "--log_level=debug")
    yield pair
    pair.end()


@pytest.fixture(scope="session")
def obesity(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served forest on rows of the obesity spec: seven classes, codes that are texts."""
    pair = start_pair(make_bundle("obesity"))
    yield pair
    pair.end()


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as one:
        yield one


@pytest.fixture(scope="session")
def raw_rows() -> Callable[..., list[dict[str, Any]]]:
    """Return the rows that a bundle was made from, as raw values by feature."""
    from healthrisk import coding

    @cache
    def load(path: Path, seed: int = 7) -> list[dict[str, Any]]:
        sys.path.insert(0, str(Path(__file__).parent))
        try:
            import sample_bundle
        finally:
            sys.path.pop(0)
        spec = Bundle.open(path).spec
        matrix, _ = sample_bundle.rows_of(spec, seed)
        return [dict(zip(spec.features, row, strict=True)) for row in coding.decode(spec, matrix)]

    return load


@pytest.fixture(scope="session")
def offline() -> Callable[..., np.ndarray]:
    """Return the offline probabilities of raw rows."""
    from healthrisk.predict import golden_matrix

    def score(bundle: Bundle, rows: list[dict[str, Any]]) -> np.ndarray:
        return Scorer(bundle).probabilities(golden_matrix(bundle.spec, [list(row.values()) for row in rows]))

    return score


@pytest.fixture(scope="session")
def as_tensors() -> Callable[..., list[dict[str, Any]]]:
    """Return v2 inputs of raw rows: one tensor a feature."""

    def convert(bundle: Bundle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "name": column.name,
                "datatype": "BYTES" if column.is_text else "FP64",
                "shape": [len(rows)],
                "data": [row[column.name] for row in rows],
            }
            for column in bundle.spec.columns
        ]

    return convert
