"""Whether probabilities are those of the model that was trained: of its serving form, of golden rows, of a server."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.classifier import ServingForm
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.errors import BundleError
from healthrisk.spec import DatasetSpec

TOLERANCE = 1e-6
GENERATED_ROWS = 10_000


def generate_rows(spec: DatasetSpec, rows: int, seed: int) -> NDArray[np.float64]:
    """Return an encoded matrix [rows, features] drawn evenly within the spec, missing values where it allows them."""
    rng = np.random.default_rng(seed)
    columns = []
    for column in spec.columns:
        if column.range is None:
            values = rng.choice(list(column.code_values.values()), rows)
        elif column.kind == "integer":
            values = rng.integers(int(np.ceil(column.range[0])), int(column.range[1]), rows, endpoint=True).astype(
                float
            )
        else:
            values = rng.uniform(*column.range, rows)
        if column.missing.allowed:
            values[rng.random(rows) < 0.1] = np.nan
        columns.append(values)
    return np.column_stack(columns)


def check(answers: NDArray[np.floating[Any]], expected: NDArray[np.float64], what: str, source: str) -> float:
    """Compare probabilities [rows, classes], or several engines' [engines, rows, classes], with those expected.

    Returns the largest difference.

    Raises:
        BundleError: it exceeds 1e-6; the message names the row, calls it `what`, and says whose answer is the other.
    """
    difference = np.abs(answers - expected).max(axis=-1)
    if difference.ndim > 1:
        difference = difference.max(axis=0)
    worst = int(difference.argmax())
    if not difference[worst] <= TOLERANCE:
        shown = f"{difference[worst]:.2g}, more than {TOLERANCE:g},"
        raise BundleError(f"{what} {worst} of {len(difference)} is answered {shown} away from {source}")
    return float(difference[worst])


def check_form(
    reference: NDArray[np.float64], preprocessor: Preprocessor, serving: ServingForm, matrix: NDArray[np.float64]
) -> float:
    """Check every engine of a serving form against scikit-learn's probabilities for the same encoded matrix."""
    inputs = preprocessor.transform(matrix)
    answers = np.stack([engine.probabilities(inputs) for engine in serving.load().engines()])
    return check(answers, reference, "row", "scikit-learn's model")
