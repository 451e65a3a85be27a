"""What a run costs over the rows of a table: each step, beside the same search and fits in bare scikit-learn.

python -m tests.benchmarks.scale [--rows 1000 10000 ...] [--classes 2 3] [--json FILE] [--plot FILE]

Every step is a process of its own, as in the pipeline, so that its time holds what it imports, and its memory is its
own. The same run by train_pipeline.py, whose steps share imports and stand side by side where they are small, comes
last. The table is invented: 40 columns, ten of them codes, two outcomes or three of which one stands in 2 % of rows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import scale_plot, scale_table
from tests.benchmarks.scale_table import SPEC, TABLE

STEPS = (
    "ingest", "validate", "preprocess", "logistic_regression", "random_forest", "gradient_boosting",
    "evaluate", "evidence", "register",
)  # fmt: skip
BARE = "scikit-learn"
PIPELINE = Path(__file__).parents[2] / "pipelines" / "train_pipeline.py"


def measure(step: str, folder: Path) -> dict[str, float]:
    """Run a step in a process of its own; return its wall and CPU seconds, and the largest memory it held, in MB."""
    command = [sys.executable, "-m", "tests.benchmarks.scale_step", step, str(folder)]
    environment = {**os.environ, "HEALTHRISK_HOME": str(folder / "home")}
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment) as running:
        # It waits for the process as Popen would, and says what it used.
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{step} failed")
    return {
        "wall": round(time.perf_counter() - began, 2),
        "cpu": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1000),
    }


def measure_pipeline(folder: Path) -> float:
    """Run the pipeline as a user does, in a home of its own; return its wall seconds."""
    command = [sys.executable, str(PIPELINE), f"--dataset={folder / SPEC}", f"--data={folder / TABLE}"]
    environment = {**os.environ, "HEALTHRISK_HOME": str(folder / "pipeline")}
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - began, 2)


def run(rows: int, classes: int, *, bare: bool) -> dict[str, Any]:
    """Measure every step of one run over an invented table, the whole, and the pipeline."""
    with tempfile.TemporaryDirectory(prefix="healthrisk-scale-") as name:
        folder = Path(name)
        scale_table.write(folder, rows, classes)
        steps = {}
        for step in (*STEPS, *([BARE] if bare else [])):
            steps[step] = measure(step, folder)
            show_step(rows, classes, step, steps[step])
        said = json.loads((folder / "said.json").read_text())
        pipeline = measure_pipeline(folder)
    own = [steps[step] for step in STEPS]
    whole = {key: round(sum(step[key] for step in own), 2) for key in ("wall", "cpu")}
    whole["peak_mb"] = max(step["peak_mb"] for step in own)
    show_step(rows, classes, "all steps", whole)
    print(f"{rows:>12,}{classes:>9}  {PIPELINE.name:<22}{pipeline:>10.1f}", flush=True)
    return {"rows": rows, "classes": classes, "steps": steps, "whole": whole, "pipeline": pipeline, "model": said}


def show_step(rows: int, classes: int, step: str, used: dict[str, float]) -> None:
    """Print one line of the table."""
    figures = f"{used['wall']:>10.1f}{used['cpu']:>10.1f}{used['peak_mb']:>10,.0f}"
    print(f"{rows:>12,}{classes:>9}  {step:<22}{figures}", flush=True)


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 3], choices=[2, 3])
    parser.add_argument("--no-bare", action="store_true", help="without the same work in bare scikit-learn")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    print(f"{'rows':>12}{'classes':>9}  {'step':<22}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}")
    runs = [run(rows, classes, bare=not given.no_bare) for classes in given.classes for rows in given.rows]
    results = {"cores": os.cpu_count(), "runs": runs}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.plot:
        scale_plot.draw(results, given.plot)


if __name__ == "__main__":
    main()
