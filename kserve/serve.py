"""Serve a bundle on this machine: `python kserve/serve.py [--dataset NAME] [--bundle ADDRESS] [--port N]`.

Starts predictor and transformer as a cluster would, from one verified bundle, and ends both when told to stop.
Other arguments go to both servers.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from healthrisk import processes
from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import HealthriskError, StoreError

HERE = Path(__file__).resolve().parent
READY_SECONDS = 30
STOP_SECONDS = 40


def main() -> int:
    """Serve until told to stop. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--dataset", default="heart-disease", help="whose champion to serve (default: %(default)s)")
    parser.add_argument("--bundle", help="serve this bundle instead: a folder, file:///FOLDER or s3://BUCKET/PREFIX")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="first of six ports (default: %(default)s)")
    args, others = parser.parse_known_args()
    try:
        processes.require_free_ports(args.host, args.port, 6)
        bundle = find_bundle(args.dataset, args.bundle)
    except HealthriskError as error:
        sys.stderr.write(f"serve.py: {error}\n")
        return 1
    # A stop is an exception from here on, wherever it arrives.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        servers += start(bundle, args.host, args.port, others)
        wait_until_ready(servers, [f"http://{args.host}:{args.port + offset}" for offset in (0, 2)])
        print(summary(bundle, args.host, args.port), flush=True)
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
        ended = next(server for server in servers if server.poll() is not None)
        sys.stderr.write(f"serve.py: {name_of(ended)} ended with exit code {ended.returncode}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    except TimeoutError as error:
        sys.stderr.write(f"serve.py: {error}\n")
        return 1
    finally:
        stop(servers)


def find_bundle(dataset: str, address: str | None) -> Bundle:
    """Return the bundle at an address, or that of the data set's champion.

    Raises:
        HealthriskError: there is none, or it is not whole.
    """
    cache = settings().home / "cache"
    if address:
        return store.fetch(address, None, cache)
    # Imports MLflow, which takes seconds that an address saves.
    from healthrisk.registry import versions

    champion = versions.champion(dataset)
    if champion is None:
        raise StoreError(
            f"{dataset!r} has no champion yet: run `python pipelines/train_pipeline.py --dataset {dataset}`"
        )
    return store.fetch(champion.uri, champion.digest, cache)


def start(bundle: Bundle, host: str, port: int, others: list[str]) -> list[subprocess.Popen[bytes]]:
    """Start the transformer and the predictor; each checks the bundle again for itself."""

    def server(script: str, place: int, *more: str) -> subprocess.Popen[bytes]:
        # The metrics come last, so that the transformer's two ports are the first ones.
        ports = [
            f"--http_port={port + 2 * place}",
            f"--grpc_port={port + 2 * place + 1}",
            f"--metrics_port={port + 4 + place}",
            f"--host={host}",
            "--drain_seconds=0",
        ]
        common = [f"--bundle={bundle.path}", f"--digest={bundle.digest}"]
        # A session of its own: Ctrl-C reaches this process alone, which then stops the two in order.
        return subprocess.Popen(
            [sys.executable, str(HERE / script), *common, *ports, *more, *others], start_new_session=True
        )

    return [server("transformer.py", 0, f"--predictor_host={host}:{port + 2}"), server("predictor.py", 1)]


def wait_until_ready(servers: list[subprocess.Popen[bytes]], urls: list[str]) -> None:
    """Wait until every server says that it is ready.

    Raises:
        TimeoutError: one ended, or is not ready in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    for server, url in zip(servers, urls, strict=True):
        while not is_ready(url):
            if any(process.poll() is not None for process in servers):
                raise TimeoutError("a server ended before it was ready; its message is above")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name_of(server)} is not ready after {READY_SECONDS} s")
            time.sleep(0.05)


def name_of(server: subprocess.Popen[bytes]) -> str:
    """Return the script that a server runs."""
    command = server.args
    return str(command[1]) if isinstance(command, list) else str(command)


def is_ready(url: str) -> bool:
    """Ask a server whether it is ready."""
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=2) as answer:  # noqa: S310 - http, ours
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def summary(bundle: Bundle, host: str, port: int) -> str:
    """Say what is served where, and how to ask it: the request is one of the bundle's golden rows."""
    name, golden = bundle.spec.name, bundle.read_json("golden.json")
    row = dict(zip(golden["features"], golden["rows"][0], strict=True))
    request = json.dumps({"instances": [row]})
    return "\n".join(
        [
            f"serving {name} {bundle.version} from {bundle.path}",
            f"  transformer  http://{host}:{port}  grpc {host}:{port + 1}",
            f"  predictor    http://{host}:{port + 2}  grpc {host}:{port + 3}",
            f"  metrics      http://{host}:{port + 4}/metrics  http://{host}:{port + 5}/metrics",
            f"  metadata     curl http://{host}:{port}/v2/models/{name}",
            f"  ask          curl -H 'content-type: application/json' -d '{request}' \\",
            f"                 http://{host}:{port}/v1/models/{name}:predict",
        ]
    )


def stop(servers: list[subprocess.Popen[bytes]]) -> None:
    """End the transformer, then the predictor it depends on."""
    for server in servers:
        server.terminate()
        with contextlib.suppress(KeyboardInterrupt):
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


if __name__ == "__main__":
    sys.exit(main())
