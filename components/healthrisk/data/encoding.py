"""An encoded matrix: a table's features as float64 [rows, features] in the spec's order, NaN where missing.

Numbers stand as they are. A code stands as itself where the spec's codes are whole numbers, and as its position in
the spec's list where they are strings (`Column.code_values`). Every model, in training and in serving, starts from it.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from healthrisk.spec import Column, DatasetSpec


def encode(spec: DatasetSpec, table: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
    """Return the encoded matrix [rows, features] of a table that validation has passed."""
    matrix = np.empty((table.num_rows, len(spec.columns)))
    for position, column in enumerate(spec.columns):
        matrix[:, position] = _encode_column(column, table.column(column.name))
    return matrix


def encode_target(spec: DatasetSpec, table: pa.Table | pa.RecordBatch) -> NDArray[np.int64]:
    """Return the class position [rows] of every row's outcome, -1 where the spec has no such class."""
    raw = spec.target.index
    positions = pc.index_in(table.column(spec.target.name), value_set=pa.array(list(raw))).fill_null(-1)
    result: NDArray[np.int64] = np.array([*raw.values(), -1], dtype=np.int64)[np.asarray(positions)]
    return result


def decode(spec: DatasetSpec, matrix: NDArray[np.float64]) -> list[list[float | str | None]]:
    """Return an encoded matrix's rows as raw values, None where missing: the inverse of `encode`."""
    texts = [list(column.meanings) if column.is_text else None for column in spec.columns]
    return [
        [
            None if np.isnan(value) else str(text[int(value)]) if text else float(value)
            for value, text in zip(row, texts, strict=True)
        ]
        for row in matrix
    ]


def _encode_column(column: Column, values: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    if column.is_text:
        values = pc.index_in(values.cast(pa.string()), value_set=pa.array(list(column.meanings)))
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
