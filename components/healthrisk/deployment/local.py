"""A bundle served on this machine: transformer, predictor and explainer in processes, as a cluster starts them."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import urllib3

from healthrisk.bundle import Bundle
from healthrisk.errors import HealthriskError

READY_SECONDS = 300
STOP_SECONDS = 120
# REST and gRPC of the transformer, then of the predictor; the metrics of each; then REST and metrics of the explainer,
# of the service that takes outcomes, and of the predictor of a challenger that is tried in silence.
PORTS = 12
_EXPLAINER, _EXPLAINER_METRICS = 6, 7
_OUTCOMES, _OUTCOMES_METRICS = 8, 9
_CHALLENGER, _CHALLENGER_METRICS = 10, 11
Server = subprocess.Popen[bytes]


class LocalServingError(HealthriskError):
    """A server on this machine did not come up, or ended by itself."""


@dataclass(frozen=True)
class Address:
    """Where a bundle is served: the first of twelve ports."""

    host: str
    port: int

    def url(self, offset: int = 0) -> str:
        """Return the base URL of the transformer, or of the server `offset` ports further."""
        return f"http://{self.host}:{self.port + offset}"


@contextlib.contextmanager
def served(
    bundle: Bundle,
    where: Address,
    scripts: Path,
    arguments: Sequence[str] = (),
    output: IO[str] | None = None,
    *,
    explain: bool = False,
    outcomes: bool = False,
    challenger: Bundle | None = None,
    alone: bool = False,
) -> Iterator[list[Server]]:
    """Serve a bundle; yield its processes once all are ready, and end them afterwards.

    Args:
        bundle: What to serve; each server verifies it again for itself.
        where: The host and the first of twelve free ports.
        scripts: The folder with transformer.py, predictor.py and explainer.py.
        arguments: What all servers get besides.
        output: A file for what they print; else their streams are this process's.
        explain: Whether an explainer is started, too.
        outcomes: Whether the service that takes outcomes is started, too.
        challenger: A version to try in silence: its own predictor is asked what the served one has answered.
        alone: Whether nobody but the caller asks: then the servers end at once, and side by side.

    Raises:
        LocalServingError: a server ended, or is not ready in time.
    """
    servers: list[Server] = []
    urls: list[str] = []
    arguments = [*arguments, "--drain_seconds=0"] if alone else arguments
    try:
        for url, command in _commands(bundle, where, scripts, arguments, explain, outcomes, challenger):
            servers.append(_start(command, output))
            urls.append(url)
        _wait_until_ready(servers, urls)
        yield servers
    finally:
        # The transformer depends on the predictor, the last.
        for group in (servers,) if alone else (servers[:-1], servers[-1:]):
            _stop(group)


def _commands(
    bundle: Bundle,
    where: Address,
    scripts: Path,
    arguments: Sequence[str],
    explain: bool,
    outcomes: bool,
    challenger: Bundle | None,
) -> Iterator[tuple[str, list[str]]]:
    """Yield the base URL and the command of each server, the predictor's last."""
    hops = [f"--predictor_host={where.host}:{where.port + 2}"]
    if challenger:
        hops += [f"--compared_bundle={challenger.path}", f"--compared_host={where.host}:{where.port + _CHALLENGER}"]
    yield where.url(), [*_script(scripts / "transformer.py", bundle), *_ports(where, 0), *hops, *arguments]
    if explain:
        own = [*_listen(where, _EXPLAINER, _EXPLAINER_METRICS), "--enable_grpc=false"]
        yield where.url(_EXPLAINER), [*_script(scripts / "explainer.py", bundle), *own, *arguments]
    if outcomes:
        own = [*_listen(where, _OUTCOMES, _OUTCOMES_METRICS), "--drain_seconds=0"]
        yield where.url(_OUTCOMES), ["-m", "healthrisk", "outcome-service", *own]
    # It ends when the transformer has ended, of which nobody else need learn.
    stops = [*arguments, "--drain_seconds=0"]
    if challenger:
        own = [*_listen(where, _CHALLENGER, _CHALLENGER_METRICS), "--enable_grpc=false"]
        yield where.url(_CHALLENGER), [*_script(scripts / "predictor.py", challenger), *own, *stops]
    yield where.url(2), [*_script(scripts / "predictor.py", bundle), *_ports(where, 1), *stops]


def wait_for_an_end(servers: list[Server]) -> None:
    """Wait until a server ends by itself.

    Raises:
        LocalServingError: always; it names the server and its exit code.
    """
    while all(server.poll() is None for server in servers):
        time.sleep(0.2)
    ended = next(server for server in servers if server.poll() is not None)
    raise LocalServingError(f"{_name(ended)} ended with exit code {ended.returncode}")


def describe(bundle: Bundle, where: Address, *, outcomes: bool = False, challenger: Bundle | None = None) -> str:
    """Say what is served where, and how to ask it: the request is one of the bundle's golden rows."""
    name, golden = bundle.spec.name, bundle.golden
    row = dict(zip(golden.features, golden.rows[0], strict=True))
    request = json.dumps({"instances": [row]})
    taken = [f"  outcomes     {where.url(_OUTCOMES)}/v1/outcomes  metrics {where.url(_OUTCOMES_METRICS)}/metrics"]
    status = "python -m healthrisk rollout status"
    return "\n".join(
        [
            f"serving {name} {bundle.version} from {bundle.path}",
            f"  transformer  {where.url()}  grpc {where.host}:{where.port + 1}",
            f"  predictor    {where.url(2)}  grpc {where.host}:{where.port + 3}",
            f"  explainer    {where.url(_EXPLAINER)}",
            f"  metrics      {where.url(4)}/metrics  {where.url(5)}/metrics  {where.url(_EXPLAINER_METRICS)}/metrics",
            *(taken if outcomes else []),
            *([f"  trial        of {challenger.version}: {status} {where.url(4)}/metrics"] if challenger else []),
            f"  metadata     curl {where.url()}/v2/models/{name}",
            f"  ask          curl -H 'content-type: application/json' -d '{request}' \\",
            f"                 {where.url()}/v1/models/{name}:predict",
            f"  explain      the same to {where.url(_EXPLAINER)}/v1/models/{name}:explain",
        ]
    )


def _ports(where: Address, place: int) -> list[str]:
    """Return the arguments that give the transformer, 0, or the predictor, 1, its ports."""
    return [*_listen(where, 2 * place, 4 + place), f"--grpc_port={where.port + 2 * place + 1}"]


def _listen(where: Address, rest: int, metrics: int) -> list[str]:
    return [f"--host={where.host}", f"--http_port={where.port + rest}", f"--metrics_port={where.port + metrics}"]


def _script(path: Path, bundle: Bundle) -> list[str]:
    return [str(path), f"--bundle={bundle.path}", f"--digest={bundle.digest}"]


def _start(command: Sequence[str], output: IO[str] | None) -> Server:
    # A session of its own: Ctrl-C reaches this process alone, which then stops them in order.
    return subprocess.Popen([sys.executable, *command], start_new_session=True, stdout=output, stderr=output)


def _wait_until_ready(servers: list[Server], urls: list[str]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    for server, url in zip(servers, urls, strict=True):
        while not _is_ready(url):
            if any(process.poll() is not None for process in servers):
                raise LocalServingError("a server ended before it was ready")
            if time.monotonic() > deadline:
                raise LocalServingError(f"{_name(server)} is not ready after {READY_SECONDS} s")
            time.sleep(0.05)


def _is_ready(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/v2/health/ready", timeout=2, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _name(server: Server) -> str:
    command = server.args
    if not isinstance(command, list):
        return str(command)
    return str(command[3]) if command[1] == "-m" else Path(str(command[1])).name


def _stop(group: list[Server]) -> None:
    """End servers side by side; whoever cannot wait interrupts again."""
    for server in group:
        server.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while any(server.poll() is None for server in group):
        try:
            for server in group:
                server.wait(max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            # Told twice, a server no longer waits for its callers to learn of it.
            for server in group:
                server.terminate()
        except subprocess.TimeoutExpired:
            for server in group:
                server.kill()
