"""What a call of the predictor costs whoever makes it: our connections beside httpcore's and aiohttp's, one batcher.

python -m tests.benchmarks.hop [--requests N] [--rounds N] [--json FILE]
Each round asks a real predictor with each client in turn; figures are CPU time of the asking process alone, a request.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpcore
import numpy as np
import uvloop

from healthrisk.bundle import Bundle, parity
from healthrisk.serving.hop import PredictorClient
from healthrisk.serving.predictor_connections import Answer, ConnectionPool, PredictorAddress
from tests.support import sample_bundle
from tests.support.servers import Server

TOGETHER = (1, 32)
LENGTH = "inference-header-content-length"


def split(message: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and body of a request: about two microseconds, which both peers are charged with."""
    head, _, body = message.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return line.split(" ")[1], headers, body


class Httpcore:
    """Stands in for our pool of connections: httpcore's."""

    def __init__(self, address: PredictorAddress) -> None:
        self._origin = f"http://{address.host}:{address.port}"
        self._pool = httpcore.AsyncConnectionPool(max_connections=None, max_keepalive_connections=None)

    async def post(self, message: bytes, deadline: float, most_bytes: int) -> Answer:
        path, headers, body = split(message)
        timeout = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 60.0)}
        answer = await self._pool.request(
            "POST", self._origin + path, headers=list(headers.items()), content=body, extensions=timeout
        )
        length = next(value for name, value in answer.headers if name.lower() == LENGTH.encode())
        return Answer(answer.status, int(length), answer.content)

    async def close(self) -> None:
        await self._pool.aclose()


class Aiohttp:
    """Stands in for our pool of connections: aiohttp's session."""

    def __init__(self, address: PredictorAddress) -> None:
        self._origin = f"http://{address.host}:{address.port}"
        self._session: aiohttp.ClientSession | None = None

    async def post(self, message: bytes, deadline: float, most_bytes: int) -> Answer:
        path, headers, body = split(message)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self._session.post(self._origin + path, headers=headers, data=body) as answer:
            return Answer(answer.status, int(answer.headers[LENGTH]), await answer.read())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


POOLS: dict[str, Callable[[PredictorAddress], Any]] = {"ours": ConnectionPool, "httpcore": Httpcore, "aiohttp": Aiohttp}


async def ask(client: PredictorClient, rows: np.ndarray, together: int, requests: int) -> float:
    """Send requests of one row each, so many at a time; return the CPU time of one in microseconds."""

    async def one_by_one(share: int) -> None:
        for at in range(share):
            await client.probabilities(rows[at % len(rows)][None])

    await asyncio.gather(*(one_by_one(5) for _ in range(together)))
    began = time.process_time()
    await asyncio.gather(*(one_by_one(requests // together) for _ in range(together)))
    return (time.process_time() - began) * 1e6 / (requests // together * together)


async def measure(address: PredictorAddress, bundle: Bundle, requests: int, rounds: int) -> list[dict[str, Any]]:
    clients, pools = {}, {name: pool(address) for name, pool in POOLS.items()}
    for name, pool in pools.items():
        clients[name] = PredictorClient(address, bundle.spec.name, bundle.version, len(bundle.spec.target.classes))
        clients[name]._connections = pool
    rows = bundle.preprocessor.transform(parity.generate_rows(bundle.spec, 64, 3))
    results = []
    for together in TOGETHER:
        spent: dict[str, list[float]] = {name: [] for name in POOLS}
        for _ in range(rounds):
            for name, client in clients.items():
                spent[name].append(await ask(client, rows, together, requests))
        results.append({"together": together, **{name: statistics.median(times) for name, times in spent.items()}})
    for pool in (pools["httpcore"], pools["aiohttp"]):
        await pool.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(sample_bundle.build("heart-disease", "logistic_regression", Path(folder)))
        server = Server("predictor.py", bundle.path, Path(folder) / "log").start().wait()
        try:
            address = PredictorAddress("127.0.0.1", server.ports[0], 60)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                results = runner.run(measure(address, bundle, given.requests, given.rounds))
        finally:
            server.end()
    print(
        f"{'requests at once':<18}"
        + "".join(f"{name + ', us':>14}" for name in POOLS)
        + f"{'httpcore/ours':>15}{'aiohttp/ours':>14}"
    )
    for one in results:
        figures = "".join(f"{one[name]:>14.0f}" for name in POOLS)
        print(
            f"{one['together']:<18}{figures}{one['httpcore'] / one['ours']:>15.1f}{one['aiohttp'] / one['ours']:>14.1f}"
        )
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
