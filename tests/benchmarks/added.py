"""What receipts, or lines and spans for a collector, add to the CPU of both servers a request, measured in turns.

python -m tests.benchmarks.added BUNDLE [--collector http://HOST:4318] [--rounds 7] [--requests 1500] [--rows 1]

With a collector's address the servers send it their lines and the spans of a request in ten, as on a cluster; without
one they make receipts.
"""

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from healthrisk.bundle import Bundle
from tests.benchmarks.paired import ask, cpu, pair, ratio_of, request_of


def exporting(collector: str) -> dict[str, str]:
    """Return the environment of servers as manifests/collector sets it."""
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, **sampled}


def main() -> None:
    """Print the cost of a request with and without, and the median ratio of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--collector", metavar="URL")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=1)
    args = parser.parse_args()
    path, body = request_of(Bundle.open(args.bundle), args.rows)
    key, environment = ("", exporting(args.collector)) if args.collector else ("k" * 32, {})
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, contextlib.ExitStack() as stack:
        pairs = {
            "without": stack.enter_context(pair(args.bundle, Path(one), "")),
            "with": stack.enter_context(pair(args.bundle, Path(other), key, environment=environment)),
        }
        spent: dict[str, list[float]] = {name: [] for name in pairs}
        for _ in range(args.rounds + 1):
            for name, servers in pairs.items():
                before = cpu(servers)
                ask(servers[1], path, body, args.requests)
                spent[name].append((cpu(servers) - before) / args.requests * 1e6)
    # The first round warms both.
    for name, times in spent.items():
        print(f"{name:<8} {statistics.median(times[1:]):.0f} us of CPU a request of {args.rows} rows")
    print(f"ratio    {ratio_of(spent['without'][1:], spent['with'][1:])}")


if __name__ == "__main__":
    main()
