"""Tables in and out in pieces: CSV or Parquet by the file's name, in bounded memory.

An ingested table is a Parquet file, or a folder of them, its parts: one for each fragment of its source, in order.
"""

import shutil
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from healthrisk.errors import SourceError
from healthrisk.spec import CsvFormat

_BLOCK_BYTES = 4 * 2**20
ROWS_AT_ONCE = 100_000
# Of an ingested table; what is done with a batch takes a dozen times its own memory.
_VALUES_AT_ONCE = 1_500_000
UTF8_COMMAS = CsvFormat()


def parts(table: Path) -> list[Path]:
    """Return the files of an ingested table in the order of its rows."""
    return sorted(table.glob("*.parquet")) if table.is_dir() else [table]


def places_like(table: Path, other: Path) -> list[Path]:
    """Return where another table has its parts that comes of an ingested table part by part: in a new folder, or at
    its own path.
    """
    if not table.is_dir():
        return [other]
    if other.is_dir():
        shutil.rmtree(other)
    other.mkdir()
    return [other / part.name for part in parts(table)]


def count_rows(part: Path) -> int:
    """Return the rows of a Parquet file."""
    return int(pq.read_metadata(part).num_rows)


def schema_of(table: Path) -> pa.Schema:
    """Return an ingested table's columns and types."""
    return pq.read_schema(parts(table)[0])


def part_path(table: Path, place: int) -> Path:
    """Return where the part at a place, from 0, of a table in parts lies."""
    return table / f"part-{place:09}.parquet"


def read_parts(table: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an ingested table, some 12 MB of them at once: all columns, or those named."""
    rows = max(1, _VALUES_AT_ONCE // len(columns or schema_of(table)))
    for part in parts(table):
        # Buffered ahead, a whole file would be in memory.
        yield from pq.ParquetFile(part, pre_buffer=False).iter_batches(rows, columns=columns)


def read_columns(table: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return an ingested table, or some of its columns, in memory."""
    return pa.concat_tables(pq.ParquetFile(part, pre_buffer=False).read(columns) for part in parts(table))


def format_of(path: Path) -> str:
    """Return "csv" or "parquet".

    Raises:
        SourceError: the name ends in neither.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in {"csv", "parquet"}:
        raise SourceError(f"{path}: expected a file whose name ends in .csv or .parquet")
    return kind


def columns_of(path: Path, written: CsvFormat = UTF8_COMMAS) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        SourceError: as `read`.
    """
    if format_of(path) == "parquet":
        with suppress(OSError, pa.ArrowInvalid):
            return list(pq.read_schema(path).names)
    batch, _ = next(read(path, 1, written))
    return list(batch.schema.names)


def size_of(path: Path) -> int:
    """Return what `read` counts its progress against: rows of Parquet, bytes of CSV."""
    try:
        return pq.ParquetFile(path).metadata.num_rows if format_of(path) == "parquet" else path.stat().st_size
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def read(path: Path, rows: int, written: CsvFormat = UTF8_COMMAS) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield record batches of at most `rows` rows, each with its share of `size_of`. CSV values come as texts.

    `written` is how a CSV is written. A table without rows is one batch without rows, so that its columns are known.

    Raises:
        SourceError: the file cannot be read, is not what its name says, or has two columns of one name.
    """
    try:
        pieces = _read_parquet(path, rows) if format_of(path) == "parquet" else _read_csv(path, rows, written)
        for number, (batch, share) in enumerate(pieces):
            if number == 0 and len(set(batch.schema.names)) < batch.num_columns:
                (name, count), *_ = Counter(batch.schema.names).most_common(1)
                raise SourceError(f"{path} has {count} columns named {name!r}")
            yield batch, share
    except pa.ArrowInvalid as error:
        # Arrow quotes the whole row, which is a patient's; so does whatever prints the error's cause.
        raise SourceError(f"{path} cannot be read: {_uneven_row(path, written) or error}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path} cannot be read: its header is not in UTF-8") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _uneven_row(path: Path, written: CsvFormat) -> str:
    """Say which line of a CSV has more or fewer columns than its header; empty if that is not what is wrong."""
    uneven: list[Any] = []

    def note(row: Any) -> str:
        uneven.append(row)
        return "error"

    if format_of(path) == "csv":
        # Only without threads does Arrow count lines.
        options, parse = csv_options(written)
        options.use_threads, parse.invalid_row_handler = False, note
        with suppress(pa.ArrowInvalid):
            deque(pa.csv.open_csv(path, options, parse), maxlen=0)
    if not uneven:
        return ""
    return f"line {uneven[0].number} has {uneven[0].actual_columns} columns, expected {uneven[0].expected_columns}"


def _read_parquet(path: Path, rows: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    file = pq.ParquetFile(path, pre_buffer=False)
    if not file.metadata.num_rows:
        yield pa.RecordBatch.from_pylist([], schema=file.schema_arrow), 0
    for batch in file.iter_batches(batch_size=rows):
        yield batch, batch.num_rows


def csv_options(written: CsvFormat) -> tuple[pa.csv.ReadOptions, pa.csv.ParseOptions]:
    """Return Arrow's options for a CSV so written, read in blocks."""
    # Arrow knows its fast path by the name without a hyphen.
    encoding = "utf8" if written.encoding == "utf-8" else written.encoding
    read = pa.csv.ReadOptions(block_size=_BLOCK_BYTES, encoding=encoding)
    return read, pa.csv.ParseOptions(delimiter=written.delimiter)


def _read_csv(path: Path, rows: int, written: CsvFormat) -> Iterator[tuple[pa.RecordBatch, int]]:
    blocks, parse = csv_options(written)
    names = pa.csv.open_csv(path, blocks, parse).schema.names
    options = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    total, seen, rows_seen = path.stat().st_size, 0, 0
    reader = pa.csv.open_csv(path, blocks, parse, options)
    for block in reader:
        share = min(_BLOCK_BYTES, total - seen)
        seen += share
        rows_seen += block.num_rows
        for start in range(0, block.num_rows, rows):
            batch = block.slice(start, rows)
            yield batch, share * batch.num_rows // block.num_rows
    if not rows_seen:
        yield pa.RecordBatch.from_pylist([], schema=reader.schema), total


def scratch_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer of a Parquet file that lives as long as a run.

    Dictionaries, statistics and compression cost more than they save where a file is read once or twice.
    """
    return pq.ParquetWriter(path, schema, use_dictionary=False, write_statistics=False, compression="NONE")


class Writer(AbstractContextManager["Writer"]):
    """Writes batches to a file that appears when all is written, or not at all. No batch, no file.

    Raises:
        SourceError: the file cannot be written, or its format has no form for a column.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._kind = path, format_of(path)
        self._unfinished = path.with_name(f".writing-{path.name}")
        self._writer: Any = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        with self._translated():
            if self._writer is None:
                self._writer = self._open(batch.schema)
            self._writer.write_batch(batch)

    def _open(self, schema: pa.Schema) -> Any:
        if self._kind == "csv":
            return pa.csv.CSVWriter(str(self._unfinished), schema)
        # A dictionary of numbers takes a third of the writing time, and saves a seventh of the bytes.
        texts = [field.name for field in schema if not pa.types.is_floating(field.type)]
        return pq.ParquetWriter(str(self._unfinished), schema, use_dictionary=texts)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Put the file in its place, or remove what was written."""
        whole = False
        try:
            if self._writer is not None:
                with self._translated():
                    self._writer.close()
                    whole = kind is None
        finally:
            if whole:
                self._unfinished.replace(self._path)
            else:
                self._unfinished.unlink(missing_ok=True)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self._path} cannot be written: {error}") from error
