"""Measure fragments on a Dask cluster here: `python -m tests.benchmarks.engine FOLDER [--fragments 40] [--turns 2]`.

By turns in this process, with one worker and with two: the seconds of ingest, validation and prediction, and the CPU
seconds of workers and of this process. Then what a task costs, and what five billion rows would take by a model that is
held against the runs with two workers, which it was not made from. The model is made of CPU seconds, of which other
work on the machine takes less than of time.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from healthrisk import engine
from healthrisk import spec as specs
from healthrisk.bundle import Bundle, parity
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.inference.fragments import FragmentedJob, predict_fragments
from tests.benchmarks import engine_model
from tests.support import sample_bundle
from tests.support.dask_cluster import DaskCluster, dask_cluster

SPEC = specs.load("heart-disease")
# Fragments that differ; the others are links to these.
DISTINCT = 8
SMALLER = 10
TASKS = 2000
# What was measured, by label of the run and by job.
Turn = dict[str, dict[str, dict[str, float]]]


def write_fragments(folder: Path, fragments: int, rows: int) -> int:
    """Write rows within the spec; return the bytes of a fragment."""
    folder.mkdir(parents=True)
    for place in range(fragments):
        path = folder / f"{place:05}.parquet"
        if place >= DISTINCT:
            path.hardlink_to(folder / f"{place % DISTINCT:05}.parquet")
            continue
        matrix = parity.generate_rows(SPEC, rows, place)
        outcome = pa.array(np.random.default_rng(place).integers(0, 5, rows))
        columns = [*(pa.array(values, pa.float64(), from_pandas=True) for values in matrix.T), outcome]
        pq.write_table(pa.table(columns, [*SPEC.features, SPEC.target.name]), path)
    return (folder / "00000.parquet").stat().st_size


def jobs(folder: Path, source: Path, bundle: Bundle, run: str) -> dict[str, Callable[[], object]]:
    """Return what is measured, in the order in which it can be done."""
    table = folder / f"table-{run}"
    job = FragmentedJob(
        str(source), str(folder / f"out-{run}"), str(bundle.path), bundle.digest, threads=1, progress=False
    )
    return {
        "ingest": lambda: ingest(SPEC, str(source), table),
        "validate": lambda: validate(SPEC, table),
        "predict": lambda: predict_fragments(job),
    }


def measure(work: Callable[[], object], workers: list[psutil.Process]) -> dict[str, float]:
    """Return the seconds of some work, and the CPU seconds of the workers and of this process."""
    processes = [*workers, psutil.Process()]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    spent = [sum(process.cpu_times()[:2]) - cpu for process, cpu in zip(processes, before, strict=True)]
    return {"seconds": round(seconds, 2), "workers_cpu": round(sum(spent[:-1]), 2), "own_cpu": round(spent[-1], 2)}


def tasks() -> dict[str, float]:
    """Return the seconds that a task costs of which a worker has nothing to do."""
    with engine.connect() as connected:
        list(connected.map(abs, range(TASKS // 10)))
        began = time.perf_counter()
        list(connected.map(abs, range(TASKS)))
    return {"tasks": TASKS, "milliseconds_each": round((time.perf_counter() - began) / TASKS * 1000, 2)}


def turn(folder: Path, cluster: DaskCluster, sources: dict[str, Path], bundle: Bundle, name: str) -> Turn:
    """Return what each job took on the large table without workers, with one and two, and on the small one with one."""
    found: Turn = {}
    runs = {"none": (0, "large"), "small": (1, "small"), "one": (1, "large"), "two": (2, "large")}
    for label, (count, source) in runs.items():
        os.environ["HEALTHRISK_DASK"] = cluster.address if count else ""
        started = [cluster.start_worker() for _ in range(count)]
        workers = [psutil.Process(process.pid) for process in started]
        run = f"{name}-{label}"
        # Imports and the bundle's opening are once a worker.
        for work in jobs(folder, sources["warm"], bundle, f"warm-{run}").values():
            work()
        done = jobs(folder, sources[source], bundle, run)
        found[label] = {what: measure(work, workers) for what, work in done.items()}
        print(json.dumps({run: found[label]}), flush=True)
        for process in started:
            process.terminate()
            process.wait()
        for path in (*folder.glob("table-*"), *folder.glob("out-*")):
            shutil.rmtree(path)
    return found


def summarize(turns: list[Turn], rows: int, fragments: int, task: float, size: float) -> None:
    """Print for each job the least of all turns, efficiency by time and by CPU, and the model, which is made of CPU."""
    for what in ("ingest", "validate", "predict"):

        def least(label: str, measure: str, what: str = what) -> float:
            return min(turn[label][what][measure] for turn in turns)

        # Who hands out tasks is at work itself, where it looks at what comes of each.
        dispatch = max(task, least("one", "own_cpu") / fragments)
        small, one, two = (least(label, "workers_cpu") for label in ("small", "one", "two"))
        costs = engine_model.fit((rows // SMALLER, small), (rows, one), fragments, dispatch, size)
        said = {
            "rows_per_second": [round(rows / least(label, "seconds")) for label in ("one", "two")],
            "one_worker_by_a_process": round(least("none", "seconds") / least("one", "seconds"), 2),
            "efficiency": round(least("one", "seconds") / least("two", "seconds") / 2, 2),
            "efficiency_by_cpu": round(one / two, 2),
            "microseconds_a_row": round(costs.row * 1e6, 3),
            "milliseconds_a_fragment": round(costs.fragment * 1e3, 1),
            "milliseconds_of_dispatch": round(costs.task * 1e3, 1),
            "two_workers_cpu_each_by_the_model": round(costs.parts(rows, fragments, 2)["workers"], 2),
            "two_workers_cpu_each_measured": round(two / 2, 2),
            "five_billion_rows": engine_model.extrapolate(costs),
        }
        print(json.dumps({what: said}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fragments", type=int, default=40)
    parser.add_argument("--rows", type=int, default=250_000, help="of each fragment")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--family", default="random_forest", choices=specs.FAMILIES)
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HEALTHRISK_RETRY_SECONDS": "60"}
    place = given.folder.absolute()
    size = write_fragments(place / "large", given.fragments, given.rows) / given.rows
    write_fragments(place / "small", given.fragments, given.rows // SMALLER)
    write_fragments(place / "warm", 4, 100)
    sources = {name: place / name for name in ("large", "small", "warm")}
    bundle = Bundle.open(sample_bundle.build("heart-disease", given.family, place / "bundles"))
    with dask_cluster(place / "cluster") as cluster:
        os.environ["HEALTHRISK_DASK_CERTIFICATES"] = str(cluster.certificates)
        found = [turn(place, cluster, sources, bundle, str(number)) for number in range(given.turns)]
        for _ in range(2):
            cluster.start_worker()
        print(json.dumps(each := tasks()), flush=True)
    rows = given.fragments * given.rows
    # Read and written.
    summarize(found, rows, given.fragments, each["milliseconds_each"] / 1000, 2 * size)
