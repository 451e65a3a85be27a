"""What receipts cost: CPU of both servers a request, with a key and without one, side by side.

python -m tests.benchmarks.receipts BUNDLE [--rounds 7] [--requests 1500] [--rows 1]

Both pairs run all the time and are asked in turns, so that other work on the machine meets both alike.
"""

import argparse
import contextlib
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
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


def main() -> None:
    """Print the cost of a request with and without, and the median ratio of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=1)
    args = parser.parse_args()
    bundle = Bundle.open(args.bundle)
    matrix = parity.generate_rows(bundle.spec, args.rows, 1)
    values = [[None if value != value else value for value in row] for row in matrix.tolist()]  # noqa: PLR0124 - NaN
    tensor = {"name": "features", "datatype": "FP64", "shape": list(matrix.shape), "data": values}
    body, path = orjson.dumps({"inputs": [tensor]}), f"/v2/models/{bundle.spec.name}/infer"
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, contextlib.ExitStack() as stack:
        pairs = {
            "without": stack.enter_context(pair(args.bundle, Path(one), "")),
            "with": stack.enter_context(pair(args.bundle, Path(other), "k" * 32)),
        }
        spent: dict[str, list[float]] = {name: [] for name in pairs}
        for _ in range(args.rounds + 1):
            for name, servers in pairs.items():
                before = cpu(servers)
                ask(servers[1], path, body, args.requests)
                spent[name].append((cpu(servers) - before) / args.requests * 1e6)
    # The first round warms both.
    ratios = [b / a for a, b in list(zip(spent["without"], spent["with"], strict=True))[1:]]
    for name, times in spent.items():
        print(f"{name:<8} {statistics.median(times[1:]):.0f} us of CPU a request of {args.rows} rows")
    print(f"ratio    {statistics.median(ratios):.3f} (rounds from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
