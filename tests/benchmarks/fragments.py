"""Measure tables in fragments: `python -m tests.benchmarks.fragments FOLDER [--fragments 20] [--rows 250000]`.

Prints the rows a second of `predict` on one file and on the same rows in fragments, by turns in processes of their own,
and the seconds and the peak memory of ingest, validation and split on a quarter of the fragments and on all of them.
"""

import argparse
import json
import statistics
import subprocess
import sys
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


def write_fragments(folder: Path, fragments: int, rows: int) -> None:
    """Write fragments of rows within the heart data's spec, and the same rows as one file beside the folder."""
    folder.mkdir(parents=True)
    with pq.ParquetWriter(folder.with_suffix(".parquet"), _table(1, 0).schema) as whole:
        for place in range(fragments):
            pq.write_table(table := _table(rows, place), folder / f"{place:05}.parquet")
            whole.write_table(table)


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
        jobs = {"file": ("in.parquet", "out.parquet"), "fragments": ("in", f"{family}-{turn}")}
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
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fragments", type=int, default=20)
    parser.add_argument("--rows", type=int, default=250_000, help="of each fragment")
    given = parser.parse_args()
    write_fragments(given.folder / "in", given.fragments, given.rows)
    quarter = given.folder / "quarter"
    quarter.mkdir()
    for path in sorted((given.folder / "in").iterdir())[: given.fragments // 4]:
        (quarter / path.name).hardlink_to(path)
    for family in ("logistic_regression", "random_forest"):
        print(json.dumps({family: predict(given.folder, family)}), flush=True)
    for source in (quarter, given.folder / "in"):
        rows = given.rows * len(list(source.iterdir()))
        print(json.dumps({"rows": rows, **steps(given.folder / f"of-{source.name}", source)}), flush=True)
