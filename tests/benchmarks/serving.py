"""What serving costs: ours beside other servers and beside two bare processes. One model, one set of rows, one core.

python tests/benchmarks/serving.py [--rounds N] [--seconds S] [--soak REQUESTS] [--only ours] [--json FILE] [--plot PNG]

Every system is started, checked against the model's offline answers, asked and ended in each round. Figures are medians
over the rounds, 99th percentiles the least of them. Servers have one core, the load the other. Other work on the
machine makes all of them slower; CPU per request suffers least.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import serving_systems as systems
from serving_load import JSON_HEADERS, Bodies, binary_body, grpc_raw, wrk
from serving_peer_systems import peers
from serving_systems import Row, Running, System

from healthrisk.bundle import Bundle, parity
from healthrisk.bundle.classifier import Classifier
from healthrisk.data import encoding
from healthrisk.inference.scorer import Scorer

ROOT = Path(__file__).parents[2]
TABLE_ROWS = 1000
# The first is what all systems serve. Its largest trees have more leaves than tables take; the second's have not.
MODELS = {"forest": (), "forest, leaves of 3": ("--leaf=3",), "logistic regression": ("--family=logistic_regression",)}
GROWTH_MB = 2


def make_bundle(folder: Path, *options: str) -> Path:
    """Make a bundle on the heart data: a forest of 100 trees, where options do not say otherwise."""
    command = [sys.executable, "-m", "tests.support.sample_bundle", str(folder), *options]
    made = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return Path(made.stdout.strip())


def complete_rows(bundle: Bundle, count: int) -> np.ndarray:
    """Return an encoded matrix [count, features] of rows within the spec, none of them with a missing value."""
    matrix = parity.generate_rows(bundle.spec, 2 * count, 1)
    return matrix[~np.isnan(matrix).any(axis=1)][:count]


class Bench:
    """One bundle, its rows and answers, and a scratch folder."""

    def __init__(self, path: Path, scratch: Path, seconds: float) -> None:
        self.bundle, self.scratch, self.seconds = Bundle.open(path), scratch, seconds
        self.matrix = complete_rows(self.bundle, TABLE_ROWS)
        names = self.bundle.spec.features
        self.rows: list[Row] = [
            dict(zip(names, row, strict=True)) for row in encoding.decode(self.bundle.spec, self.matrix)
        ]  # type: ignore[misc]
        self.scorer = Scorer(self.bundle)
        self.expected = self.scorer.probabilities(self.matrix)[:, 1]
        self._bodies: dict[str, Bodies] = {}

    def bodies(self, system: System) -> Bodies:
        """Return the single-row requests for a system."""
        if system.name not in self._bodies:
            contents = [json.dumps(system.body([row])).encode() for row in self.rows[:200]]
            folder = self.scratch / f"bodies-{len(self._bodies)}"
            self._bodies[system.name] = Bodies.write(folder, contents, JSON_HEADERS)
        return self._bodies[system.name]

    def check(self, system: System, running: Running) -> None:
        """Compare a system's answers with the model's."""
        for row, expected in zip(self.rows[:20], self.expected, strict=False):
            request = urllib.request.Request(
                running.url + system.path, json.dumps(system.body([row])).encode(), JSON_HEADERS
            )
            with urllib.request.urlopen(request) as answer:
                answered = system.probability(json.load(answer))
            if abs(answered - expected) > 1e-6:
                raise SystemExit(f"{system.name} answers {answered}, expected {expected}")

    def measure(self, system: System) -> dict[str, Any]:
        """Start a system and return one round of its figures."""
        with systems.run(system, self.scratch / "servers.log") as running:
            self.check(system, running)
            url, bodies = running.url + system.path, self.bodies(system)
            wrk(url, bodies, 16, 1)
            cpu = running.cpu()
            many = wrk(url, bodies, 16, self.seconds)
            cpu = running.cpu() - cpu
            alone = wrk(url, bodies, 1, self.seconds)
            return {
                "requests_per_second": many["requests"] / many["seconds"],
                "p50_ms_16": many["p50"],
                "p99_ms_16": many["p99"],
                "p50_ms_1": alone["p50"],
                "p99_ms_1": alone["p99"],
                "cpu_us_per_request": cpu / many["requests"] * 1e6,
                "start_seconds": max(running.start_seconds),
                "resident_mb": running.resident(),
            }

    def tables(self) -> dict[str, float]:
        """Return the rows a second that our servers answer in requests of 1,000 rows, by their form."""
        system = systems.ours(self.bundle.path, self.bundle.spec.name)
        columns = dict(zip(self.bundle.spec.features, self.matrix.T, strict=True))
        body, headers = binary_body(columns)
        forms = {"JSON": (json.dumps(system.body(self.rows)).encode(), JSON_HEADERS), "binary": (body, headers)}
        with systems.run(system, self.scratch / "servers.log") as running:
            rates = {}
            for form, (content, own) in forms.items():
                folder = Path(tempfile.mkdtemp(dir=self.scratch)) / "bodies"
                bodies = Bodies.write(folder, [content], own)
                wrk(running.url + system.path, bodies, 4, 1)
                counted = wrk(running.url + system.path, bodies, 4, self.seconds)
                rates[form] = counted["requests"] / counted["seconds"] * TABLE_ROWS
            requests = grpc_raw(running.grpc, self.bundle.spec.name, columns, 4, self.seconds)
        rates |= {"gRPC raw": requests * TABLE_ROWS, "no server at all": self.offline(self.scorer.model)}
        return rates | {"its graph or numbers alone": self.offline(self.scorer.model.engines()[0])}

    def offline(self, model: Classifier) -> float:
        """Return the rows a second of the preprocessor and a model alone: what no server of it can exceed."""
        began, calls = time.process_time(), 0
        while time.process_time() - began < 1:
            model.probabilities(self.bundle.preprocessor.transform(self.matrix))
            calls += 1
        return calls * TABLE_ROWS / (time.process_time() - began)

    def soak(self, system: System, requests: int) -> list[dict[str, Any]]:
        """Return the memory of each process after ever more requests; growth ends the benchmark."""
        with systems.run(system, self.scratch / "servers.log") as running:
            done, marks = 0, []
            while done < requests:
                done += int(wrk(running.url + system.path, self.bodies(system), 16, 10)["requests"])
                marks.append({"requests": done, "resident_mb": running.resident()})
                print(f"  {done:>9,} requests: {' + '.join(f'{mb:.1f}' for mb in running.resident())} MB", flush=True)
        growth = max(last - first for first, last in zip(*(marks[at]["resident_mb"] for at in (0, -1)), strict=True))
        if growth > GROWTH_MB:
            raise SystemExit(
                f"a server grew by {growth:.1f} MB over {done:,} requests, at most {GROWTH_MB} are allowed"
            )
        return marks


def median(rounds: list[Any]) -> Any:
    """Return the medians of figures that were measured several times, and the least of each 99th percentile.

    In a round that other work disturbs, every hundredth request waits for that work.
    """
    if isinstance(rounds[0], dict):
        return {
            key: min(one[key] for one in rounds) if key.startswith("p99") else median([one[key] for one in rounds])
            for key in rounds[0]
        }
    if isinstance(rounds[0], list):
        return [median(list(values)) for values in zip(*rounds, strict=True)]
    return float(f"{statistics.median(rounds):.5g}")


def chosen_systems(bench: Bench, word: str) -> Iterator[System]:
    """Yield the systems whose name holds a word."""
    path = bench.bundle.path
    yield systems.ours(path, bench.bundle.spec.name)
    yield systems.bare(path)
    yield systems.bare(path, processes=1)
    if word in {"ours", "healthrisk"}:
        return
    yield systems.stock_kserve(path, "grpc-v2")
    yield systems.stock_kserve(path, "v2")
    yield from peers(path, bench.scratch / "peers")


def show(results: dict[str, Any]) -> None:
    """Print the figures as tables."""
    print(
        f"\n{'':<30}{'req/s':>8}{'p50':>7}{'p99':>7}{'p50':>7}{'p99':>7}{'CPU µs':>9}{'start':>7}  resident\n"
        f"{'':<30}{'16 connections, ms':>22}{'alone, ms':>14}{'/request':>9}{'s':>7}  MB"
    )
    for name, one in results["systems"].items():
        print(
            f"{name:<30}{one['requests_per_second']:>8,.0f}{one['p50_ms_16']:>7.2f}{one['p99_ms_16']:>7.2f}"
            f"{one['p50_ms_1']:>7.2f}{one['p99_ms_1']:>7.2f}{one['cpu_us_per_request']:>9,.0f}"
            f"{one['start_seconds']:>7.1f}  {' + '.join(f'{mb:.0f}' for mb in one['resident_mb'])}"
        )
    for name, share in results["shares"].items():
        print(f"share of {name}: {share:.0%}")
    print(f"\nrows/s of {TABLE_ROWS:,}-row requests")
    for family, rates in results["tables"].items():
        print(f"{family:<24}" + "".join(f"  {form} {rate:,.0f}" for form, rate in rates.items()))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--soak", type=int, default=0, help="requests over which memory is followed")
    parser.add_argument("--only", default="", help="`ours` leaves out all but ours and the bare limits")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--plot", type=Path, help="draw requests per second here, as PNG")
    return parser.parse_args()


def measure(benches: dict[str, Bench], args: argparse.Namespace) -> dict[str, Any]:
    """Measure the chosen systems in rounds, one after the other in each; return the medians."""
    bench = benches["forest"]
    chosen = list(chosen_systems(bench, args.only))
    rounds: dict[str, list[Any]] = {system.name: [] for system in chosen}
    for number in range(args.rounds):
        for system in chosen:
            print(f"round {number + 1} of {args.rounds}: {system.name}", flush=True)
            rounds[system.name].append(bench.measure(system))
    ours, *limits = chosen[:3]
    shares = {
        limit.name: median(
            [
                own["requests_per_second"] / bare["requests_per_second"]
                for own, bare in zip(rounds[ours.name], rounds[limit.name], strict=True)
            ]
        )
        for limit in limits
    }
    results = {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "rounds": args.rounds,
        "systems": {name: median(measurements) for name, measurements in rounds.items()},
        "shares": shares,
        "tables": {family: median([one.tables() for _ in range(args.rounds)]) for family, one in benches.items()},
    }
    show(results)
    if args.soak:
        results["soak"] = bench.soak(ours, args.soak)
    return results


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing; `make test-tools` installs it")
    with tempfile.TemporaryDirectory(prefix="healthrisk-serving-") as name:
        benches = {
            model: Bench(make_bundle(Path(name), *options), Path(name), args.seconds)
            for model, options in MODELS.items()
        }
        results = measure(benches, args)
    print(json.dumps(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    if args.plot:
        from serving_plot import draw

        draw(results, args.plot)


if __name__ == "__main__":
    main()
