"""The systems that are compared: how each is started, asked and read. All serve one model, asked one set of rows.

Servers are pinned to one core together, with every other process of theirs.
"""

import contextlib
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "serving_peers"
SERVER_CORE, LOAD_CORE = 0, 1
READY_SECONDS = 60
# No system reports its use to its makers: it would be measured, too.
SILENT = {"ORT_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True"}
Row = dict[str, float]


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *command]


@dataclass(frozen=True)
class Program:
    """One server process: `{port}` in its command stands for its own first port, of three that are free."""

    command: list[str]
    ready: str
    folder: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One way to serve the model. The last program is the one asked; an earlier one's address is its `{predictor}`."""

    name: str
    programs: list[Program]
    path: str
    body: Callable[[list[Row]], Any]
    probability: Callable[[Any], float]


@dataclass
class Running:
    """A system's processes, and what is known of them."""

    url: str
    grpc: str
    processes: list[psutil.Popen]
    start_seconds: list[float]

    def family(self) -> list[psutil.Process]:
        return [one for process in self.processes for one in (process, *process.children(recursive=True))]

    def cpu(self) -> float:
        """CPU seconds of every process so far."""
        return sum(sum(one.cpu_times()[:2]) for one in self.family())

    def resident(self) -> list[float]:
        """Resident MB of each program with its children, a page that they share counted once."""
        return [
            sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 1e6
            for process in self.processes
        ]


def free_ports() -> tuple[int, int, int]:
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        for one in (first, second, third):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1], third.getsockname()[1]


@contextlib.contextmanager
def run(system: System, log: Path) -> Iterator[Running]:
    """Start a system's programs one after the other, and end them."""
    processes: list[psutil.Popen] = []
    seconds, predictor, predictor_grpc, ports = [], "", "", (0, 0, 0)
    try:
        for program in system.programs:
            ports = free_ports()
            words = {
                "port": ports[0],
                "grpc": ports[1],
                "metrics": ports[2],
                "predictor": predictor,
                "predictor_grpc": predictor_grpc,
            }
            command = [part.format(**words) for part in program.command]
            environment = (
                os.environ | SILENT | {key: value.format(**words) for key, value in program.environment.items()}
            )
            began = time.perf_counter()
            with log.open("ab") as out:
                processes.append(
                    psutil.Popen(
                        pinned(SERVER_CORE, command), stdout=out, stderr=out, env=environment, cwd=program.folder
                    )
                )
            _wait(processes[-1], f"http://127.0.0.1:{ports[0]}{program.ready}", log)
            seconds.append(time.perf_counter() - began)
            predictor, predictor_grpc = f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
        yield Running(f"http://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", processes, seconds)
    finally:
        for process in reversed(processes):
            _end(process)


def _wait(process: psutil.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise SystemExit(f"{url} is not ready; the end of its log:\n{log.read_text()[-3000:]}")


def _end(process: psutil.Popen) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=10)
        for one in left:
            one.kill()
    process.wait()


def named_tensors(rows: list[Row]) -> Any:
    """Return a v2 request: one tensor a feature."""
    return {
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [len(rows)], "data": [row[name] for row in rows]}
            for name in rows[0]
        ]
    }


def _v2_probability(answer: Any) -> float:
    (output,) = [output for output in answer["outputs"] if output["name"] == "probability"]
    return output["data"][1]


def ours(bundle: Path, name: str, *options: str) -> System:
    """Our transformer and predictor, as `kserve/serve.py` and a cluster start them."""

    def program(script: str, *more: str) -> Program:
        own = [
            "--http_port={port}",
            "--grpc_port={grpc}",
            "--metrics_port={metrics}",
            "--host=127.0.0.1",
            f"--bundle={bundle}",
        ]
        command = [sys.executable, str(ROOT / "kserve" / script), *own, *more, *options]
        return Program(command, "/v2/health/ready")

    programs = [program("predictor.py"), program("transformer.py", "--predictor_host={predictor}")]
    return System("healthrisk", programs, f"/v2/models/{name}/infer", named_tensors, _v2_probability)


def bare(bundle: Path, *, processes: int = 2) -> System:
    """Two bare ASGI processes, or one."""
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--port={port}", "--loop=uvloop", "--http=httptools"]
    command += ["--no-access-log", "--log-level=warning", "--lifespan=off"]
    own = {"BUNDLE": str(bundle)}
    programs = [
        Program(command, "/", HERE, own),
        Program(command, "/", HERE, own | {"PREDICTOR": "http://{predictor}"}),
    ]
    name = "bare ASGI, two processes"
    if processes == 1:
        programs, name = [Program(command, "/", HERE, own | {"WHOLE": "1"})], "bare ASGI, one process"
    return System(name, programs, "/v2/models/risk/infer", named_tensors, _v2_probability)


def stock_kserve(bundle: Path, protocol: str) -> System:
    """KServe's transformer and predictor, its hop over `v2` (REST) or `grpc-v2`."""
    command = [sys.executable, str(HERE / "stock_kserve.py"), str(bundle), "--http_port={port}", "--grpc_port={grpc}"]
    host = "{predictor}" if protocol == "v2" else "{predictor_grpc}"
    more = [f"--predictor_protocol={protocol}", f"--predictor_host={host}"]
    programs = [Program(command, "/v2/health/ready"), Program([*command, *more], "/v2/health/ready")]
    name = f"KServe, {'REST' if protocol == 'v2' else 'gRPC'} hop, ONNX"
    return System(name, programs, "/v2/models/risk/infer", named_tensors, _v2_probability)
