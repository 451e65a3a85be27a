"""The invented table of the benchmark of scale: 30 numbers and ten codes, some of which say something."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from healthrisk.spec import DatasetSpec

NUMBERS, CODES, LEVELS = 30, 10, 4
ROWS_AT_ONCE = 250_000
TABLE, SPEC = "table.csv", "spec.json"
# Where the risk is cut into classes: 30 % events; or some 20 % moderate and 2 % severe.
_CUTS = {2: (1.6,), 3: (2.1, 5.2)}


def write(folder: Path, rows: int, classes: int) -> None:
    """Write the table as CSV, and its spec, into a folder."""
    spec = make_spec(classes)
    (folder / SPEC).write_text(spec.to_json())
    rng = np.random.default_rng(0)
    fields = [(name, pa.float64() if name.startswith("n") else pa.int64()) for name in spec.features]
    schema = pa.schema([*fields, ("outcome", pa.int64())])
    with pa.csv.CSVWriter(folder / TABLE, schema) as writer:
        for begin in range(0, rows, ROWS_AT_ONCE):
            writer.write_table(pa.table(_columns(rng, min(ROWS_AT_ONCE, rows - begin), classes), schema=schema))


def _columns(rng: np.random.Generator, rows: int, classes: int) -> list[pa.Array]:
    numbers = np.clip(rng.standard_normal((NUMBERS, rows)), -6, 6).round(2)
    codes = rng.integers(0, LEVELS, (CODES, rows))
    weights = np.array([0.8, -0.6, 0.5, 0.4, -0.4, 0.3, 0.2, 0.2])
    risk = weights @ numbers[:8] + 0.6 * numbers[8] * numbers[9] + 0.5 * np.abs(numbers[10])
    risk += 0.5 * (codes[0] == 1) - 0.4 * (codes[1] == 2) + rng.logistic(size=rows)
    missing = rng.random((3, rows)) < 0.05
    return [
        *(pa.array(values, mask=missing[place] if place < 3 else None) for place, values in enumerate(numbers)),
        *(pa.array(values) for values in codes),
        pa.array(np.digitize(risk, _CUTS[classes])),
    ]


def make_spec(classes: int) -> DatasetSpec:
    """Return the table's spec: the product's own defaults, but for gates, which an invented table need not pass."""
    numbers = [
        {"name": f"n{place}", "label": f"Number {place}", "kind": "number", "range": [-6, 6]}
        | ({"missing": {"allowed": True}} if place < 3 else {})
        for place in range(NUMBERS)
    ]
    levels = {level: str(level) for level in range(LEVELS)}
    codes = [{"name": f"c{place}", "label": f"Code {place}", "kind": "code", "codes": levels} for place in range(CODES)]
    names = ("none", "event") if classes == 2 else ("none", "moderate", "severe")
    risks: list[dict[str, Any]] = [{"name": "Low", "below": 0.3}, {"name": "High"}]
    if classes > 2:
        risks = [{"name": "Low"}, {"name": "High", "any_of": ["severe"], "at_least": 0.05}]
    return DatasetSpec.model_validate(
        {
            "name": "invented",
            "title": "Invented",
            "description": "Nobody.",
            "columns": [*numbers, *codes],
            "target": {
                "name": "outcome",
                "label": "Outcome",
                "classes": [{"name": name, "value": name, "raw": [place]} for place, name in enumerate(names)],
            },
            "sensitive": ["c0", "n0"],
            "validation": {"class_balance": {"action": "ignore"}},
            "gates": [{"metric": "roc_auc", "min": 0.5}, {"metric": "least_recall", "min": 0}],
            "risk_levels": risks,
        }
    )


def read_spec(folder: Path) -> DatasetSpec:
    """Return the spec that lies in a folder."""
    return DatasetSpec.model_validate(json.loads((folder / SPEC).read_text()))
