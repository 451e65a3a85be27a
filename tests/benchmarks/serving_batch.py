"""What batch prediction costs: rows a second and memory of `python -m healthrisk predict` on one core, from Parquet.

python tests/benchmarks/serving_batch.py [--rows N] [--json FILE]

The linear model scores all rows, the forests a tenth of them: one of leaves of any size, which onnxruntime walks, and
one of three patients a leaf at the least, which bit tables look up. Where other work takes the core, CPU seconds tell
more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from healthrisk.bundle import Bundle, parity

ROOT = Path(__file__).parents[2]
CORE = "0"
PART_ROWS = 250_000
# For each model the share of the rows that it scores, and what the sample bundle is asked for.
MODELS: dict[str, tuple[int, tuple[str, ...]]] = {
    "logistic regression": (1, ("--family=logistic_regression",)),
    "forest": (10, ("--family=random_forest",)),
    "forest, leaves of 3": (10, ("--family=random_forest", "--leaf=3")),
}
# A process' own CPU seconds after its imports, and its largest memory: the last line of standard error.
MEASURED = """
import resource, sys, time
import healthrisk.bundle.store, healthrisk.inference.batch
from healthrisk.__main__ import main
began = time.process_time()
code = main()
print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def make_bundle(folder: Path, options: tuple[str, ...]) -> Bundle:
    """Make a bundle of a model on the heart data."""
    command = [sys.executable, "-m", "tests.support.sample_bundle", str(folder), *options]
    made = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return Bundle.open(Path(made.stdout.strip()))


def write_table(bundle: Bundle, path: Path, rows: int) -> None:
    """Write rows within the spec, some values missing, as Parquet."""
    writer = None
    for begin in range(0, rows, PART_ROWS):
        matrix = parity.generate_rows(bundle.spec, min(PART_ROWS, rows - begin), begin)
        columns = [pa.array(values, from_pandas=True) for values in matrix.T]
        table = pa.table(columns, names=list(bundle.spec.features))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def predict(bundle: Bundle, table: Path) -> dict[str, Any]:
    """Score a table as the command line does, and return what it took."""
    out = table.with_name("out.parquet")
    command = ["taskset", "--cpu-list", CORE, sys.executable, "-c", MEASURED, "predict", str(table)]
    command += ["--out", str(out), "--bundle", str(bundle.path), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        printed, errors = running.communicate()
    if running.returncode:
        raise SystemExit(errors)
    summary = json.loads(printed)
    cpu, peak = map(float, errors.split()[-2:])
    return {
        "rows": summary["rows"],
        "seconds": summary["seconds"],
        "rows_per_second": summary["rows_per_second"],
        "rows_per_cpu_second": round(summary["rows"] / cpu),
        "peak_mib": round(peak / 1024),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows for the linear model")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="healthrisk-batch-") as name:
        for model, (share, options) in MODELS.items():
            bundle, table = make_bundle(Path(name), options), Path(name) / "table.parquet"
            write_table(bundle, table, args.rows // share)
            results[model] = measured = predict(bundle, table)
            print(
                f"{model:<22}{measured['rows']:>12,} rows{measured['seconds']:>8.1f} s"
                f"{measured['rows_per_second']:>12,} rows/s{measured['rows_per_cpu_second']:>12,} rows/CPU s"
                f"{measured['peak_mib']:>6,} MiB"
            )
    print(json.dumps(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
