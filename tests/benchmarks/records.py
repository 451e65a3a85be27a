"""What the record of use costs: the transformer's CPU a request and requests a second, with and without, in one run.

python -m tests.benchmarks.records BUNDLE [--rounds 7] [--requests 3000] [--connections 16] [--folder FOLDER]
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from healthrisk.bundle import Bundle
from tests.benchmarks.paired import cpu, pair, ratio_of, request_of

KEY = "k" * 32


async def load(port: int, request: bytes, requests: int, connections: int) -> None:
    """Send requests over some connections at once, each after the answer to the one before, all answered with 200."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(requests // connections):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.splitlines()[0]:
                raise SystemExit(f"the server answered {head!r}")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))


def main() -> None:
    """Print both figures with and without, and the median ratio of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where the record goes (default: a temporary folder)")
    args = parser.parse_args()
    path, body = request_of(Bundle.open(args.bundle), 1)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, contextlib.ExitStack() as stack:
        recorded = {"HEALTHRISK_RECORDS": folder, "HEALTHRISK_RECORD_KEY": KEY}
        pairs = {}
        for name, given in (("without", {}), ("with", recorded)):
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pairs[name] = stack.enter_context(pair(args.bundle, logs, KEY, environment=given))
        spent: dict[str, list[float]] = {name: [] for name in pairs}
        rates: dict[str, list[float]] = {name: [] for name in pairs}
        for _ in range(args.rounds + 1):
            for name, servers in pairs.items():
                before, start = cpu(servers[1:]), time.perf_counter()
                asyncio.run(load(servers[1].ports[0], head.encode() + body, args.requests, args.connections))
                rates[name].append(args.requests / (time.perf_counter() - start))
                spent[name].append((cpu(servers[1:]) - before) / args.requests * 1e6)
    # The first round warms both.
    for name in pairs:
        rate, used = statistics.median(rates[name][1:]), statistics.median(spent[name][1:])
        print(f"{name:<8} {rate:.0f} requests a second, {used:.0f} us of the transformer's CPU a request")
    for what, figures in (("throughput", rates), ("CPU", spent)):
        print(f"ratio of {what:<11} {ratio_of(figures['without'][1:], figures['with'][1:])}")


if __name__ == "__main__":
    main()
