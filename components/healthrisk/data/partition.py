"""Sort a table's rows into those that keep the spec and those that do not, with reasons."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from healthrisk.data import derive
from healthrisk.data.rules import NUMBER, Rules
from healthrisk.errors import SourceError
from healthrisk.spec import Column, DatasetSpec

REJECTS = pa.schema([("row", pa.int64()), ("feature", pa.string()), ("value", pa.string()), ("expected", pa.string())])
# Stands for a text that is no number, or no code: no spec allows it.
_UNREADABLE = np.inf
_NUMBER = rf"^{NUMBER}$"


@dataclass(frozen=True)
class Partition:
    """The rows of a batch: which are good [rows], their encoded matrix [good rows, features], the others' faults."""

    good: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    rejects: pa.RecordBatch


class Partitioner:
    """Judges rows by a spec, as the servers do."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._rules = Rules(spec)

    def partition(self, batch: pa.RecordBatch, first_row: int) -> Partition:
        """Part a batch into good rows and faults. `first_row` is the number of its first row in the table, from 1.

        Raises:
            SourceError: the table lacks a column of the spec, or one holds neither numbers nor texts.
        """
        names = derive.safe_names(self._spec, batch.schema.names)
        wanted = derive.needed(self._spec, names)
        if absent := [name for name in wanted if name not in names]:
            raise SourceError(f"the table has no column {absent[0]!r}; it needs {', '.join(wanted)}")
        batch = self._prepared(batch.rename_columns(names))
        table = np.empty((len(self._spec.columns), batch.num_rows))
        for position, column in enumerate(self._spec.columns):
            table[position] = self._numbers(column, batch.column(column.name))
        unreadable = np.isposinf(table)
        bad = self._rules.violations(table) | unreadable
        good = np.asarray(~bad.any(axis=0))
        if good.all():
            return Partition(good, table.T, pa.RecordBatch.from_pylist([], schema=REJECTS))
        return Partition(good, table[:, good].T, self._faults(batch, bad, first_row))

    def _prepared(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch with the features that follow from other columns: out of words and dates."""
        added = [column for column in self._spec.columns if column.boolean or column.between]
        if not added:
            return batch
        known = dict(zip(batch.schema.names, batch.columns, strict=True))
        return pa.RecordBatch.from_pydict(
            known | {column.name: derive.feature(self._spec, column, batch) for column in added}
        )

    def _numbers(self, column: Column, values: pa.Array) -> NDArray[np.float64]:
        """Return a column's encoded values, NaN where missing and infinite where they cannot be read."""
        values = derive.without_tokens(self._spec, values)
        if column.is_text:
            texts = _texts(column, values)
            missing = [*(str(value) for value in column.missing.values), *self._spec.missing_tokens]
            absent = np.asarray(pc.or_(pc.is_null(texts), pc.is_in(texts, value_set=pa.array(missing, pa.string()))))
            places = pc.index_in(texts, value_set=pa.array(list(column.meanings))).cast(pa.float64())
            encoded = places.fill_null(_UNREADABLE).to_numpy(zero_copy_only=False)
            return np.where(absent, np.nan, encoded)
        try:
            numbers = values.cast(pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            texts = _texts(column, values)
            readable = pc.match_substring_regex(texts, _NUMBER)
            numbers = pc.utf8_trim_whitespace(pc.if_else(readable, texts, "inf")).cast(pa.float64())
        result: NDArray[np.float64] = numbers.to_numpy(zero_copy_only=False)
        return result

    def _faults(self, batch: pa.RecordBatch, bad: NDArray[np.bool_], first_row: int) -> pa.RecordBatch:
        """Return one line for each value that is not allowed."""
        rows, places = np.nonzero(bad.T)
        columns = [self._spec.columns[place] for place in places.tolist()]
        values = [batch.column(column.name)[row].as_py() for column, row in zip(columns, rows.tolist(), strict=True)]
        return pa.record_batch(
            [
                pa.array(rows + first_row, pa.int64()),
                pa.array([column.name for column in columns], pa.string()),
                pa.array([None if value is None else str(value) for value in values], pa.string()),
                pa.array([column.allowed for column in columns], pa.string()),
            ],
            schema=REJECTS,
        )


def _texts(column: Column, values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SourceError(f"column {column.name!r} holds {values.type}, expected numbers or texts") from error
