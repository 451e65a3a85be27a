"""Rows as they were asked about: of a table, or of a request as it was sent, in v1 or v2."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.errors import SourceError
from healthrisk.serving import codec, parsing
from healthrisk.serving.rows import RowReader
from healthrisk.spec import DatasetSpec

_ROWS_AT_ONCE = 100_000
_MOST_BYTES = 2**30


def read_rows(path: Path, spec: DatasetSpec) -> NDArray[np.float64]:
    """Return the encoded matrix [rows, features] of a .json request, or of a .csv or .parquet table's allowed rows.

    Raises:
        SourceError: there is no such file, or no row in it that the spec allows.
        RequestError: it is no request.
    """
    if path.suffix.lower() != ".json":
        return _of_table(path, spec)
    try:
        body = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    reader = RowReader(spec, _ROWS_AT_ONCE)
    document = parsing.parse(body, _MOST_BYTES)
    if isinstance(document, dict) and "inputs" in document:
        request = codec.parse_request(body, _MOST_BYTES, _ROWS_AT_ONCE * len(spec.features))
        return reader.read_tensors(request.inputs)
    return reader.read_document(document)


def _of_table(path: Path, spec: DatasetSpec) -> NDArray[np.float64]:
    # pyarrow, which a server does not have.
    from healthrisk.data import tables
    from healthrisk.data.partition import Partitioner

    partitioner, seen, matrices = Partitioner(spec), 0, [np.empty((0, len(spec.features)))]
    for batch, _ in tables.read(path, _ROWS_AT_ONCE, spec.csv):
        matrices.append(partitioner.partition(batch, seen + 1).matrix)
        seen += batch.num_rows
    if not len(matrix := np.concatenate(matrices)):
        raise SourceError(f"{path} has no row that the spec allows, of {seen}")
    return matrix
