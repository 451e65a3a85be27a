"""What values a table's columns hold, read from its beginning, and how the file is written."""

import codecs
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from healthrisk.data import tables
from healthrisk.errors import SourceError, SpecError
from healthrisk.spec import CsvFormat

# Enough to see every common value; a longer table is not read to its end.
ROWS_READ = 200_000
_HEAD_BYTES = 2**20
MISSING_TOKENS = ("", "?", ".", "-", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "missing")


@dataclass
class DistinctValues:
    """A column's distinct texts and how often each occurs, without the tokens that mean missing."""

    name: str
    texts: list[str]
    counts: NDArray[np.int64]
    missing: int
    tokens: set[str] = field(default_factory=set)

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The distinct values [values] as numbers, or None where one is no number."""
        try:
            parsed = np.array([float(text) for text in self.texts])
        except ValueError:
            return None
        return parsed if np.isfinite(parsed).all() else None


def guess_format(table: Path) -> CsvFormat:
    """Guess how a CSV is written: Latin-1 where it is not UTF-8, separated by the commonest mark of its first line."""
    if tables.format_of(table) != "csv":
        return tables.UTF8_COMMAS
    try:
        with table.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"{table} cannot be read: {error}") from error
    try:
        # Incrementally: the last character may have been cut.
        codecs.getincrementaldecoder("utf-8")().decode(head)
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "latin-1"
    first = head.splitlines()[0] if head else b""
    delimiter = max(",;\t|", key=lambda mark: first.count(mark.encode()))
    return CsvFormat.model_validate({"delimiter": delimiter, "encoding": encoding})


def read_values(table: Path, written: CsvFormat) -> tuple[list[DistinctValues], int]:
    """Return every column's distinct values, and the rows read.

    Raises:
        SourceError: the table cannot be read.
        SpecError: it has no rows.
    """
    batches, rows = [], 0
    for batch, _ in tables.read(table, ROWS_READ, written):
        batches.append(batch.slice(0, ROWS_READ - rows))
        rows += batches[-1].num_rows
        if rows >= ROWS_READ:
            break
    if not rows:
        raise SpecError(f"{table} has no rows to guess from")
    whole = pa.Table.from_batches(batches)
    return [_distinct(name, whole.column(name)) for name in whole.column_names], rows


def _distinct(name: str, column: pa.ChunkedArray) -> DistinctValues:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    counted = pc.value_counts(column.cast(pa.string()))
    texts = [text if text is None else text.strip() for text in counted.field("values").to_pylist()]
    counts = np.asarray(counted.field("counts"), dtype=np.int64)
    absent = np.array([text is None or text in MISSING_TOKENS for text in texts], dtype=bool)
    return DistinctValues(
        name=name,
        texts=[text for text, gone in zip(texts, absent, strict=True) if text is not None and not gone],
        counts=counts[~absent],
        missing=int(counts[absent].sum()),
        tokens={text for text, gone in zip(texts, absent, strict=True) if text and gone},
    )
