"""What a silent trial costs whoever is answered: times and CPU of a request, with one and without, side by side.

python -m tests.benchmarks.trial BUNDLE CHALLENGER [--rounds 9] [--requests 1500]
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from healthrisk.bundle import Bundle
from tests.benchmarks.paired import ask, cpu, pair, ratio_of, request_of
from tests.support.servers import Server


def main() -> None:
    """Print the median ratios of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("challenger", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=1500)
    args = parser.parse_args()
    path, body = request_of(Bundle.open(args.bundle), 1)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        tried = Server("predictor.py", args.challenger, Path(folder) / "challenger.log").start().wait()
        stack.callback(tried.end)
        mirrored = (f"--compared_bundle={args.challenger}", f"--compared_host=127.0.0.1:{tried.ports[0]}")
        pairs = {
            "without": stack.enter_context(pair(args.bundle, Path(folder), "")),
            "with": stack.enter_context(pair(args.bundle, Path(folder), "", *mirrored)),
        }
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in pairs}
        for _ in range(args.rounds + 1):
            for name, servers in pairs.items():
                before, times = cpu(servers), []
                ask(servers[1], path, body, args.requests, times)
                times.sort()
                spent = (cpu(servers) - before) / args.requests
                figures[name].append((times[len(times) // 2], times[int(0.99 * len(times))], spent))
                time.sleep(0.2)
    for place, what in enumerate(("p50", "p99", "CPU")):
        # The first round warms both.
        without, with_trial = ([one[place] for one in figures[name][1:]] for name in ("without", "with"))
        shown = f"{statistics.median(without) * 1e6:.0f} and {statistics.median(with_trial) * 1e6:.0f} us"
        print(f"{what}  {shown}, ratio {ratio_of(without, with_trial)}")


if __name__ == "__main__":
    main()
