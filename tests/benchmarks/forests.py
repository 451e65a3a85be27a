"""What scoring trees by bit tables gains: rows a second beside the ONNX graph of the same trees, on one core.

python -m tests.benchmarks.forests [--rows 256 1000 8192] [--json FILE]

Trees are fitted on invented rows with so many columns of numbers and as many of zeros and ones. `look-ups` are those of
a row after features of few intervals have been merged, `bytes` what each reads of a tree. Both engines are asked in
turn, and the fastest of nine answers counts.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from healthrisk.bundle.classifier import Graph
from healthrisk.bundle.trees import TreeTables
from healthrisk.registry.export_graph import to_onnx
from healthrisk.registry.export_trees import to_trees

TREES, FITTED = 100, 4000
SHAPES = [(numbers, leaves) for numbers in (5, 10, 20, 40) for leaves in (8, 16, 32, 64)]


def table(numbers: int, rows: int, seed: int) -> np.ndarray:
    """Return inputs [rows, 2 * numbers], the second half zeros and ones."""
    inputs = np.random.default_rng(seed).normal(size=(rows, 2 * numbers)).astype(np.float32)
    inputs[:, numbers:] = inputs[:, numbers:] > 0
    return inputs


def fit(family: str, numbers: int, leaves: int) -> Any:
    """Return a fitted ensemble of `TREES` trees."""
    rng, inputs = np.random.default_rng(1), table(numbers, FITTED, 0).astype(np.float64)
    score = inputs @ rng.normal(size=2 * numbers) + inputs[:, 0] * inputs[:, 1] + rng.normal(0, 2, FITTED)
    if family == "forest":
        model = RandomForestClassifier(TREES, max_leaf_nodes=leaves, random_state=0)
    else:
        model = HistGradientBoostingClassifier(max_iter=TREES, max_leaf_nodes=leaves, random_state=0)
    return model.fit(inputs, score > 0)


def measure(family: str, numbers: int, leaves: int, sizes: list[int]) -> dict[str, Any]:
    """Return rows a second of both engines for each number of rows, and the largest difference from scikit-learn's."""
    model = fit(family, numbers, leaves)
    tables, graph = TreeTables(to_trees(model)), Graph(to_onnx(model, 2 * numbers))
    inputs = table(numbers, max(sizes), 2)
    difference = np.abs(tables.exact(inputs) - model.predict_proba(inputs.astype(np.float64))).max()
    rates = {size: [_rows_per_second(engine, inputs[:size]) for engine in (graph, tables)] for size in sizes}
    return {
        "family": family,
        "columns": 2 * numbers,
        "leaves": leaves,
        "lookups": tables.lookups,
        "bytes": tables.word_bytes,
        "pays": tables.pay(),
        "difference": float(difference),
        "rates": rates,
    }


def _rows_per_second(engine: Graph | TreeTables, inputs: np.ndarray) -> float:
    times = []
    for _ in range(9):
        began = time.perf_counter()
        engine.probabilities(inputs)
        times.append(time.perf_counter() - began)
    return len(inputs) / min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 1000, 8192])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results = []
    heads = "".join(f"{f'graph {rows:,}':>14}{'tables':>12}{'ratio':>7}" for rows in given.rows)
    print(f"{'family':<10}{'columns':>8}{'leaves':>7}{'look-ups':>9}{'bytes':>6}{'used':>5}  {'difference':>10}{heads}")
    for family in ("forest", "boosting"):
        for numbers, leaves in SHAPES:
            one = measure(family, numbers, leaves, given.rows)
            results.append(one)
            rates = "".join(f"{graph:>14,.0f}{own:>12,.0f}{own / graph:>7.2f}" for graph, own in one["rates"].values())
            print(
                f"{family:<10}{one['columns']:>8}{leaves:>7}{one['lookups']:>9}{one['bytes']:>6}"
                f"{'yes' if one['pays'] else 'no':>5}  {one['difference']:>10.0e}{rates}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
