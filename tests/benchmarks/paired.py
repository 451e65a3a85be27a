"""Two pairs of servers that differ in one thing, asked in turns, so that other work on the machine meets both alike."""

import contextlib
import os
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from healthrisk.bundle import Bundle, parity
from tests.support.servers import Server

TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def pair(
    bundle: Path, folder: Path, key: str, *options: str, environment: dict[str, str] | None = None
) -> Iterator[list[Server]]:
    """Yield a predictor and a transformer that are ready; `options` are the transformer's."""
    environment = {"HEALTHRISK_RECEIPT_KEY": key, **(environment or {})}
    predictor = Server("predictor.py", bundle, folder / "predictor.log", ("--max_rows=2000",), environment)
    host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
    transformer = Server("transformer.py", bundle, folder / "log", (host, "--max_rows=2000", *options), environment)
    try:
        yield [server.start().wait() for server in (predictor, transformer)]
    finally:
        for server in (predictor, transformer):
            server.end()


def cpu(servers: list[Server]) -> float:
    """Return the seconds of CPU that servers have used."""
    fields = [Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split() for server in servers]
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS


def ask(server: Server, path: str, body: bytes, requests: int, times: list[float] | None = None) -> None:
    """Send requests one after another over one connection, check that each is answered, and note the seconds."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.ports[0])) as connection:
        answers = connection.makefile("rb")
        for _ in range(requests):
            start = time.perf_counter()
            connection.sendall(head.encode() + body)
            if b" 200 " not in (status := answers.readline()):
                raise SystemExit(f"the server answered {status!r}")
            length = 0
            while (line := answers.readline().lower()) != b"\r\n":
                length = int(line.split(b":")[1]) if line.startswith(b"content-length:") else length
            answers.read(length)
            if times is not None:
                times.append(time.perf_counter() - start)


def request_of(bundle: Bundle, rows: int) -> tuple[str, bytes]:
    """Return the path and the body of a v2 request with so many rows."""
    matrix = parity.generate_rows(bundle.spec, rows, 1)
    values = [[None if value != value else value for value in row] for row in matrix.tolist()]  # noqa: PLR0124 - NaN
    tensor = {"name": "features", "datatype": "FP64", "shape": list(matrix.shape), "data": values}
    return f"/v2/models/{bundle.spec.name}/infer", orjson.dumps({"inputs": [tensor]})


def ratio_of(without: Sequence[float], given: Sequence[float]) -> str:
    """Return the median ratio of rounds, and the smallest and largest."""
    ratios = [other / one for one, other in zip(without, given, strict=True)]
    return f"{statistics.median(ratios):.3f} (rounds from {min(ratios):.3f} to {max(ratios):.3f})"
