"""Measure tables in fragments: `python -m tests.benchmarks.fragments [--fragments 80] [--rows 250000]`.

On a quarter of the fragments: the rows a second of `predict` on one file and on the same rows in fragments, by turns in
processes of their own. On a quarter and on all: the seconds and the peak memory of ingest, validation and split.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from healthrisk import spec as specs
from healthrisk.bundle import parity
from tests.support import sample_bundle

TURNS = 3
STEPS = {
    "ingest": "ingest(spec, str(source), folder / 'table')",
    "validate": "validate(spec, folder / 'table')",
    "preprocess": "write_split(spec, folder / 'table', 0, *(folder / name for name in ('train', 'test', 'fitted')))",
}
CODE = """
import json, re, sys, time
from pathlib import Path
from healthrisk import spec as specs
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.training.split import write_split

spec, source, folder = specs.load("heart-disease"), Path(sys.argv[1]), Path(sys.argv[2])
began = time.perf_counter()
{step}
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(json.dumps({{"seconds": round(time.perf_counter() - began, 1), "peak_mib": int(peak) // 1024}}))
"""


def write_fragments(folder: Path, fragments: int, rows: int) -> tuple[Path, Path]:
    """Write fragments of rows within the heart data's spec; return the folder of a quarter of them, and that of all.

    The rows of the quarter lie beside them in one file.
    """
    quarter, whole = folder / "quarter", folder / "whole"
    for each in (quarter, whole):
        each.mkdir()
    with pq.ParquetWriter(folder / "quarter.parquet", _table(1, 0).schema) as file:
        for place in range(fragments):
            path = whole / f"{place:05}.parquet"
            pq.write_table(table := _table(rows, place), path)
            if place < fragments // 4:
                file.write_table(table)
                (quarter / path.name).hardlink_to(path)
    return quarter, whole


def _table(rows: int, seed: int) -> pa.Table:
    spec = specs.load("heart-disease")
    matrix = parity.generate_rows(spec, rows, seed)
    outcome = pa.array(np.random.default_rng(seed).integers(0, 5, rows))
    columns = [*(pa.array(values, pa.float64(), from_pandas=True) for values in matrix.T), outcome]
    return pa.table(columns, [*spec.features, spec.target.name])


def run(*command: object) -> dict[str, float]:
    """Run Python in a process of its own; return what it printed."""
    words = [sys.executable, *map(str, command)]
    return dict(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))


def predict(folder: Path, family: str) -> dict[str, int]:
    """Return the median rows a second of one file and of fragments."""
    bundle = sample_bundle.build("heart-disease", family, folder / family)
    speeds: dict[str, list[float]] = {"file": [], "fragments": []}
    for turn in range(TURNS):
        jobs = {"file": ("quarter.parquet", "out.parquet"), "fragments": ("quarter", f"{family}-{turn}")}
        for kind, (source, out) in jobs.items():
            arguments = ("-m", "healthrisk", "predict", folder / source, "--out", folder / out, "--bundle", bundle)
            speeds[kind].append(run(*arguments, "--quiet")["rows_per_second"])
    return {kind: round(statistics.median(each)) for kind, each in speeds.items()}


def steps(folder: Path, source: Path) -> dict[str, dict[str, float]]:
    """Return the seconds and the peak memory of each step."""
    folder.mkdir()
    return {name: run("-c", CODE.format(step=step), source, folder) for name, step in STEPS.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fragments", type=int, default=80)
    parser.add_argument("--rows", type=int, default=250_000, help="of each fragment")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="healthrisk-fragments-") as scratch:
        folders = write_fragments(Path(scratch), given.fragments, given.rows)
        for family in ("logistic_regression", "random_forest"):
            print(json.dumps({family: predict(Path(scratch), family)}), flush=True)
        for source in folders:
            rows = given.rows * len(list(source.iterdir()))
            print(json.dumps({"rows": rows, **steps(Path(scratch) / f"of-{source.name}", source)}), flush=True)
