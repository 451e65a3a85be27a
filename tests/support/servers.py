"""Server processes for tests."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import grpc
import httpx
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.bundle import Bundle
from tests.support import forked, http
from tests.support.patience import ANSWER, until

ROOT = Path(__file__).resolve().parents[2]
# Ports of this process.
_RESERVED: list[contextlib.ExitStack] = []
# No limit of time that a good request could reach on a busy machine: on its way to the predictor, or anywhere.
PATIENT_HOP = f"--predictor_request_timeout_seconds={ANSWER:g}"
PATIENT = (
    PATIENT_HOP,
    f"--request_seconds={ANSWER:g}",
    f"--answer_seconds={ANSWER:g}",
    "--drain_seconds=2",
)
# Limits of size that tests can reach.
SMALL = (
    f"--max_body_bytes={2**20}",
    f"--max_held_bytes={4 * 2**20}",
)


def free_ports(count: int) -> list[int]:
    """Return ports in a row that nothing listens on, and that no other process of tests gets while this one lives.

    They lie below those that the kernel gives to outgoing connections.
    """
    while True:
        first = random.randrange(10_000, 32_000)
        with contextlib.ExitStack() as reserved, contextlib.suppress(OSError):
            for port in range(first, first + count):
                # A name of the kernel's own, which goes with the process.
                reserved.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0healthrisk-tests-{port}")
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            _RESERVED.append(reserved.pop_all())
            return list(range(first, first + count))


@dataclass
class Server:
    """One server process."""

    # What every such server imports.
    imported: ClassVar[tuple[str, ...]] = tuple(
        f"healthrisk.serving.servers.{name}" for name in ("predictor", "transformer", "explainer")
    )
    script: str
    bundle: Path
    log: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    process: subprocess.Popen[bytes] | forked.ForkedProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}/metrics"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        command = [sys.executable, str(ROOT / "kserve" / self.script), f"--bundle={self.bundle}", "--host=127.0.0.1"]
        command += [f"--http_port={self.ports[0]}", f"--grpc_port={self.ports[1]}"]
        return [*command, f"--metrics_port={self.ports[2]}", *self.options]

    def start(self) -> "Server":
        """Start a process from nothing."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdout=log, env=os.environ | self.environment)
        return self

    def fork(self) -> "Server":
        """Start a process that has imported what a server imports, which takes seconds: it runs the same main."""
        with self.log.open("ab") as log:
            self.process = forked.fork(self.command(), log, os.environ | self.environment, self.imported)
        return self

    def wait(self) -> "Server":
        """Wait until the server is ready."""
        until(self._is_ready, self.log.read_text)
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return http.get(f"{self.url}/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        return self.process.wait(ANSWER)

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

    def wait(self) -> "Pair":
        """Wait until both are ready."""
        for server in (self.predictor, self.transformer):
            server.wait()
        return self

    def end(self) -> None:
        for server in (self.transformer, self.predictor):
            server.end()


def body_of(pair: Pair) -> bytes:
    golden = pair.bundle.golden
    return json.dumps({"instances": golden.rows[:1]}).encode()


def grpc_code(pair: Pair, **metadata: str) -> grpc.StatusCode:
    """Return the status of a good request over gRPC."""
    features = pair.bundle.spec.features
    row = next(row for row in pair.bundle.golden.rows if None not in row)
    message = pb.ModelInferRequest(model_name=pair.bundle.spec.name)
    tensor = message.inputs.add(name="features", datatype="FP64", shape=[1, len(features)])
    tensor.contents.fp64_contents.extend(row)
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        return (
            GRPCInferenceServiceStub(channel)
            .ModelInfer.future(message, timeout=ANSWER, metadata=tuple(metadata.items()))
            .code()
        )
