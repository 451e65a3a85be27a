"""Who the patients are, as a paper's first table has it: every predictor, by outcome."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.evidence.event import Event
from healthrisk.spec import Column, DatasetSpec

# An encoded matrix [rows, features] and the positions of its rows' classes.
Part = tuple[NDArray[np.float64], NDArray[np.int64]]


def describe(spec: DatasetSpec, matrix: NDArray[np.float64], event: Event) -> dict[str, Any]:
    """Return the sizes of the two sides, without and with the event, and for each predictor lines for both.

    A number's line holds median and quartiles, a code's has a line for each meaning, with count and share; shares and
    quartiles are of the rows in which the value is known. `matrix` [rows, features] is encoded.
    """
    sides = [matrix[~event.happened], matrix[event.happened]]
    return {
        "rows": [len(side) for side in sides],
        "predictors": [
            {
                "label": column.label,
                "unit": column.unit,
                "missing": [int(np.isnan(side[:, place]).sum()) for side in sides],
                "lines": _lines(column, [side[~np.isnan(side[:, place]), place] for side in sides]),
            }
            for place, column in enumerate(spec.columns)
        ],
    }


def repeated(train: Part, test: Part) -> int:
    """Return how many rows of the hold-out are a training row to the last value, outcome included."""
    known = {row.tobytes() for row in np.column_stack(train)}
    return sum(row.tobytes() in known for row in np.column_stack(test))


def _lines(column: Column, sides: list[NDArray[np.float64]]) -> list[dict[str, Any]]:
    if column.kind != "code":
        return [{"name": "", "sides": [_quartiles(known) for known in sides]}]
    return [
        {"name": meaning, "sides": [_count(known, column.code_values[code]) for known in sides]}
        for code, meaning in column.codes
    ]


def _quartiles(known: NDArray[np.float64]) -> dict[str, float] | None:
    if not len(known):
        return None
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "low": low, "high": high}


def _count(known: NDArray[np.float64], value: float) -> dict[str, float] | None:
    if not len(known):
        return None
    count = int((known == value).sum())
    return {"count": count, "share": count / len(known)}
