"""A table's side of a drift comparison: counts on a bundle's edges, and the rows that its spec refuses."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from healthrisk import engine
from healthrisk.bundle import Bundle, reference
from healthrisk.bundle.reference import Reference
from healthrisk.data import tables
from healthrisk.data.fragments import Fragment, at_hand, find_fragments, is_folder
from healthrisk.data.ingest import ingest
from healthrisk.data.partition import Partitioner
from healthrisk.errors import SourceError
from healthrisk.inference.scorer import open_scorer


def counts(bundle: Bundle, source: str, address: str = "") -> Reference:
    """Return the table's counts in the reference's form, and how many rows the spec refused, by feature.

    `source` is a file, or a folder or s3:// prefix of fragments. A .csv or .parquet file needs a header, and no
    outcome; any other is read as a source of the spec is. `address` is the bundle's, where that is in a bucket.

    Raises:
        SourceError: the table cannot be read, lacks a column, or has no row that the spec allows.
    """
    fragments = find_fragments(source) if is_folder(source) else [Fragment(Path(source).name, source)]
    found = address if address.startswith("s3://") else str(bundle.path.absolute())
    with engine.connect(found, fragments[0].uri) as tasks:
        counted = tasks.merge(_count, ((found, bundle.digest, each) for each in fragments), reference.add)
    if not counted.rows:
        raise SourceError(f"{source} has no row that the spec allows, of {counted.refused_rows}")
    return counted


def _count(work: tuple[str, str, Fragment]) -> Reference:
    """Return the counts of one fragment."""
    address, digest, fragment = work
    scorer = open_scorer(address, digest)
    spec, known = scorer.bundle.spec, scorer.bundle.reference
    with at_hand(fragment) as path, tempfile.TemporaryDirectory(prefix="healthrisk-drift-") as scratch:
        table = path
        if path.suffix.lower() not in {".csv", ".parquet"}:
            table = Path(scratch) / "table.parquet"
            ingest(spec, str(path), table)
        nothing = np.empty((0, len(spec.features))), np.empty((0, len(spec.target.classes)), np.float32)
        partitioner, counted = Partitioner(spec), reference.recount(spec, known, *nothing)
        for batch, _ in tables.read(table, tables.ROWS_AT_ONCE, spec.csv):
            partitioned = partitioner.partition(batch, 1)
            if len(matrix := partitioned.matrix):
                counted = reference.add(counted, reference.recount(spec, known, matrix, scorer.probabilities(matrix)))
            reasons = Counter(counted.refused) + Counter(partitioned.rejects.column("feature").to_pylist())
            refused = counted.refused_rows + batch.num_rows - len(matrix)
            counted = counted.model_copy(update={"refused_rows": refused, "refused": dict(reasons)})
    return counted
