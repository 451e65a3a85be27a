"""What the pipeline costs: each step, the whole, the same work in one bare process, and a table of millions of rows.

python tests/benchmarks/pipeline.py [--rows N] [--json FILE]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv

from healthrisk import spec as specs
from healthrisk.spec import Column, DatasetSpec

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


class Watch:
    """Follows a process and those below it: CPU seconds, also of those that ended, and the most memory they held."""

    def __init__(self, process: psutil.Process) -> None:
        self.peak, self.cpu = 0, 0.0
        self._process = process
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
            held, cpu = 0, 0.0
            for one in [self._process, *self._process.children(recursive=True)]:
                try:
                    # What forked processes share counts once.
                    held += one.memory_full_info().pss
                    cpu += sum(one.cpu_times()[:4])
                except psutil.NoSuchProcess:
                    continue
            self.peak, self.cpu = max(self.peak, held), max(self.cpu, cpu)
            time.sleep(0.05)


def run_pipeline(dataset: str) -> dict[str, Any]:
    """Run the pipeline as a user does and time its steps."""
    command = [sys.executable, str(ROOT / "pipelines/train_pipeline.py"), "--dataset", dataset]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HEALTHRISK_HOME": home}
        began = time.perf_counter()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
            watch = Watch(psutil.Process(running.pid))
            titles: dict[str, str] = {}
            steps, number = [], ""
            assert running.stdout is not None
            for line in running.stdout:
                # A line without its step's number is of the step above it.
                matched = re.match(r"(\[\d/\d\])? +(?:done in (.*) s$)?(.*)", line)
                number = (matched and matched[1]) or number
                if matched and matched[2]:
                    steps.append({"step": titles[number], "wall": float(matched[2])})
                elif matched and matched[1]:
                    titles.setdefault(number, matched[3])
        if running.returncode:
            raise SystemExit("the pipeline failed")
        wall = time.perf_counter() - began
    return {"steps": steps, "wall": round(wall, 2), "cpu": round(watch.cpu, 2), "peak_mb": round(watch.peak / 1e6)}


def run_bare(dataset: str) -> dict[str, Any]:
    """Time the same work, called from one process without KFP."""
    command = [sys.executable, str(HERE / "one_process.py"), dataset]
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        with subprocess.Popen(command, env={**os.environ, "HEALTHRISK_HOME": home}, stdout=subprocess.PIPE) as running:
            watch = Watch(psutil.Process(running.pid))
            assert running.stdout is not None
            cpu = json.loads(running.stdout.read())["cpu"]
        if running.returncode:
            raise SystemExit("the bare run failed")
        wall = time.perf_counter() - began
    return {"wall": round(wall, 2), "cpu": cpu, "peak_mb": round(watch.peak / 1e6)}


def run_table(rows: int) -> dict[str, Any]:
    """Time ingest, validate and preprocess on an invented table of so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_table(specs.load("heart-disease"), path, rows)
        command = [sys.executable, str(HERE / "large_table.py"), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            watch = Watch(psutil.Process(running.pid))
            assert running.stdout is not None
            seconds = json.loads(running.stdout.read())
    parse_and_transform = seconds["ingest"] + seconds["preprocess"]
    return {
        "rows": rows,
        **{name: round(value, 2) for name, value in seconds.items()},
        "rows_per_second": round(rows / parse_and_transform),
        "peak_mb": round(watch.peak / 1e6),
    }


def write_table(spec: DatasetSpec, path: Path, rows: int) -> None:
    """Invent a table of the spec's columns, within its ranges and codes, and write it as CSV."""
    rng = np.random.default_rng(0)
    outcomes = list(spec.target.index)
    schema = pa.schema([*((name, pa.float64()) for name in spec.features), (spec.target.name, pa.int64())])
    with pa.csv.CSVWriter(path, schema) as writer:
        for begin in range(0, rows, 250_000):
            count = min(250_000, rows - begin)
            columns = [invent(column, count, rng) for column in spec.columns]
            writer.write_table(pa.table([*columns, rng.choice(outcomes, count)], schema=schema))


def invent(column: Column, rows: int, rng: np.random.Generator) -> pa.Array:
    """Return a column of values that its spec allows; one in fifty is missing where that is allowed."""
    if column.range:
        values = rng.uniform(*column.range, rows).round(0 if column.kind == "integer" else 1)
    else:
        values = rng.choice(list(column.code_values.values()), rows)
    return pa.array(values, mask=rng.random(rows) < 0.02 if column.missing.allowed else None)


def show(results: dict[str, Any]) -> None:
    """Print the results as tables."""
    run, bare = results["pipeline"], results["bare"]
    print(f"{'step':<28}{'wall s':>8}{'CPU s':>8}")
    for step in run["steps"]:
        print(f"{step['step']:<28}{step['wall']:>8.1f}")
    print(f"{'the whole run':<28}{run['wall']:>8.1f}{run['cpu']:>8.1f}   peak {run['peak_mb']} MB")
    print(f"{'one bare process':<28}{bare['wall']:>8.1f}{bare['cpu']:>8.1f}   peak {bare['peak_mb']} MB")
    print(f"{'difference':<28}{run['wall'] - bare['wall']:>8.1f}{run['cpu'] - bare['cpu']:>8.1f}")
    print(f"\n{'rows':>12}{'ingest s':>10}{'validate s':>12}{'preprocess s':>14}{'rows/s':>12}{'peak MB':>9}")
    for table in results["tables"]:
        print(
            f"{table['rows']:>12,}{table['ingest']:>10.1f}{table['validate']:>12.1f}{table['preprocess']:>14.1f}"
            f"{table['rows_per_second']:>12,}{table['peak_mb']:>9,}"
        )
    print("rows/s: CSV parsing (ingest) plus splitting, fitting and writing the parts (preprocess)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="heart-disease")
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the largest table")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    results = {
        "cores": os.cpu_count(),
        "pipeline": run_pipeline(arguments.dataset),
        "bare": run_bare(arguments.dataset),
        "tables": [run_table(arguments.rows // part) for part in (4, 2, 1)],
    }
    show(results)
    print(json.dumps(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
