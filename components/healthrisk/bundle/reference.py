"""A bundle's reference: how every feature and the predicted classes were distributed in the rows a model was made from.

Numbers are counted in bins: up to each edge, itself included, and beyond the last. The same form describes any other
rows, a file's or those that servers have counted, so that two can be compared without a row of either.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.spec import Column, DatasetSpec

# Twenty equally filled bins describe a distribution well enough for drift tests, and cost a server 20 counters.
QUANTILES = np.linspace(0.05, 0.95, 19)


def describe(spec: DatasetSpec, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Return the reference of an encoded matrix [rows, features] and its probabilities [rows, classes]."""
    edges = {
        column.name: _edges(values)
        for column, values in zip(spec.columns, matrix.T, strict=True)
        if column.kind != "code"
    }
    return _document(spec, edges, matrix, probabilities)


def recount(
    spec: DatasetSpec, reference: dict[str, Any], matrix: NDArray[np.float64], probabilities: NDArray[np.float32]
) -> dict[str, Any]:
    """Return what `describe` would, on another reference's edges."""
    edges = {
        name: np.asarray(known["edges"]) for name, known in reference["features"].items() if known["kind"] == "number"
    }
    return _document(spec, edges, matrix, probabilities)


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, QUANTILES)) if len(known) else np.array([0.0])


def _document(
    spec: DatasetSpec,
    edges: dict[str, NDArray[np.float64]],
    matrix: NDArray[np.float64],
    probabilities: NDArray[np.float32],
) -> dict[str, Any]:
    features = {
        column.name: _count(column, edges.get(column.name), values)
        for column, values in zip(spec.columns, matrix.T, strict=True)
    }
    predicted = np.bincount(probabilities.argmax(axis=1), minlength=len(spec.target.classes)).tolist()
    classes = [cls.value for cls in spec.target.classes]
    return {"rows": len(matrix), "features": features, "predictions": {"classes": classes, "counts": predicted}}


def _count(column: Column, edges: NDArray[np.float64] | None, values: NDArray[np.float64]) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    missing = len(values) - len(known)
    if edges is None:
        counts = [int((known == level).sum()) for level in column.code_values.values()]
        return {"kind": "code", "codes": list(column.code_values), "counts": counts, "missing": missing}
    places = np.searchsorted(edges, known, side="left")
    counts = np.bincount(places, minlength=len(edges) + 1).tolist()
    return {"kind": "number", "edges": edges.tolist(), "counts": counts, "missing": missing}
