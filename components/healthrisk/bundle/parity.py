"""Whether the serving form answers as scikit-learn does: on rows that were seen, and on generated ones."""

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.classifier import ServingForm
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.errors import BundleError
from healthrisk.spec import DatasetSpec

PARITY_TOLERANCE = 1e-6
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


def check_parity(
    reference: NDArray[np.float64], preprocessor: Preprocessor, serving: ServingForm, matrix: NDArray[np.float64]
) -> float:
    """Compare the serving form with scikit-learn's probabilities [rows, classes] for the same encoded matrix.

    Returns the largest difference.

    Raises:
        BundleError: it exceeds 1e-6; the message names the row.
    """
    inputs = preprocessor.transform(matrix)
    answers = np.stack([engine.probabilities(inputs) for engine in serving.load().engines()])
    difference = np.abs(answers - reference).max(axis=(0, 2))
    worst = int(difference.argmax())
    if not difference[worst] <= PARITY_TOLERANCE:
        raise BundleError(
            f"the serving form disagrees with scikit-learn by {difference[worst]:.2g} in row {worst} of {len(matrix)};"
            f" at most {PARITY_TOLERANCE:g} is allowed"
        )
    return float(difference[worst])
