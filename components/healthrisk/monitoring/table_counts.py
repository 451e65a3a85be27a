"""A table's side of a drift comparison: counts on a bundle's edges, and the rows that its spec refuses."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from healthrisk.bundle import Bundle, reference
from healthrisk.bundle.reference import Reference
from healthrisk.data import tables
from healthrisk.data.ingest import ingest
from healthrisk.data.partition import Partitioner
from healthrisk.errors import SourceError
from healthrisk.inference.scorer import Scorer

ROWS_AT_ONCE = 250_000


def counts(bundle: Bundle, path: Path) -> Reference:
    """Return the table's counts in the reference's form, and how many rows the spec refused, by feature.

    A .csv or .parquet file needs a header, and no outcome; any other is read as a source of the spec is.

    Raises:
        SourceError: the table cannot be read, lacks a column, or has no row that the spec allows.
    """
    with tempfile.TemporaryDirectory(prefix="healthrisk-drift-") as scratch:
        if path.suffix.lower() not in {".csv", ".parquet"}:
            table = Path(scratch) / "table.parquet"
            ingest(bundle.spec, str(path), table)
            path = table
        partitioner, seen, matrices = Partitioner(bundle.spec), 0, []
        refused: Counter[str] = Counter()
        for batch, _ in tables.read(path, ROWS_AT_ONCE, bundle.spec.csv):
            partitioned = partitioner.partition(batch, seen + 1)
            matrices.append(partitioned.matrix)
            refused.update(partitioned.rejects.column("feature").to_pylist())
            seen += batch.num_rows
    matrix = np.concatenate([np.empty((0, len(bundle.spec.features))), *matrices])
    if not len(matrix):
        raise SourceError(f"{path} has no row that the spec allows, of {seen}")
    probabilities = Scorer(bundle).probabilities(matrix)
    accepted = reference.recount(bundle.spec, bundle.reference, matrix, probabilities)
    return accepted.model_copy(update={"refused_rows": seen - len(matrix), "refused": dict(refused)})
