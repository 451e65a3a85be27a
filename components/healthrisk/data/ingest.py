"""Read a source into a Parquet table of the spec's columns: numbers as float64, texts as strings, null where missing.

A CSV may have a header in any order, or none, with the columns in the spec's order.
"""

import codecs
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from healthrisk.data import derive, sources, tables
from healthrisk.data.rules import NUMBER
from healthrisk.documents import Document
from healthrisk.errors import SourceError
from healthrisk.spec import Column, DatasetSpec

BLOCK_BYTES = 8 * 2**20
_HEAD_BYTES = 2**20
_GZIP = b"\x1f\x8b"
# What the reader of CSV takes for a number: what every other part does, and the values that are none.
_NUMBER = rf"^{NUMBER}$|^[ \t]*[+-]?(nan|inf|infinity)[ \t]*$"


class IngestRecord(Document):
    """Where a table came from and what it holds.

    `source` is the name of one of the spec's sources or of a file, `sha256` the digest of the bytes read, `missing` the
    number of missing values by feature.
    """

    source: str
    uri: str
    sha256: str
    rows: int
    columns: tuple[str, ...]
    missing: dict[str, int]


def ingest(spec: DatasetSpec, data: str, table_path: Path) -> IngestRecord:
    """Write the table to `table_path` and return the record of it.

    `data` names a file or an address, or one of the spec's sources; empty, the spec's first source is read.

    Raises:
        SourceError: the source cannot be had or read, or is not a table of the spec's columns.
    """
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=table_path.parent) as scratch:
        fetched = sources.fetch(spec, data, Path(scratch))
        batches = _parquet(spec, fetched) if _is_parquet(fetched.path) else _csv(spec, fetched)
        written = Path(scratch) / "table.parquet"
        rows, missing = _write(spec, batches, written)
        if rows == 0:
            raise SourceError(f"{fetched.uri} has no rows")
        written.replace(table_path)
    return IngestRecord(
        source=fetched.name,
        uri=fetched.uri,
        sha256=fetched.sha256,
        rows=rows,
        columns=(*spec.features, spec.target.name),
        missing=missing,
    )


def _write(spec: DatasetSpec, batches: Iterator[pa.RecordBatch], path: Path) -> tuple[int, dict[str, int]]:
    """Write cleaned batches; return the number of rows and of missing values by feature."""
    rows, missing = 0, dict.fromkeys(spec.features, 0)
    with tables.scratch_writer(path, _schema(spec)) as writer:
        for batch in batches:
            clean = _clean(spec, batch, rows + 1)
            writer.write_batch(clean)
            rows += clean.num_rows
            for name in missing:
                missing[name] += clean.column(name).null_count
    return rows, missing


def _schema(spec: DatasetSpec) -> pa.Schema:
    fields = [(column.name, pa.string() if column.is_text else pa.float64()) for column in spec.columns]
    fields.append((spec.target.name, pa.string() if spec.target.is_text else pa.int64()))
    return pa.schema([*fields, *((name, pa.string()) for name in spec.structure)])


def _clean(spec: DatasetSpec, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
    """Return a batch in the schema's order and types, with null wherever the spec says that a value is missing.

    Its first row has the number `first`.
    """
    arrays = []
    for column in spec.columns:
        values = _feature(spec, column, batch, first)
        # Texts were parsed with the tokens; numbers may also say missing by NaN.
        absent: list[object] = [*spec.missing_tokens] if column.is_text else [np.nan]
        marked = pc.is_in(values, value_set=pa.array([*absent, *column.missing.values], values.type))
        arrays.append(pc.if_else(marked, pa.scalar(None, values.type), values) if pc.any(marked).as_py() else values)
    arrays.append(_outcome(spec, batch.column(spec.target.name), first))
    for name in spec.structure:
        arrays.append(batch.column(name).cast(pa.string()))
        if arrays[-1].null_count:
            place = arrays[-1].is_null().index(True).as_py()
            raise SourceError(f"row {first + place}: {name} is missing, though rows are grouped by it")
    return pa.record_batch(arrays, schema=_schema(spec))


def _feature(spec: DatasetSpec, column: Column, batch: pa.RecordBatch, first: int) -> pa.Array:
    """Return a feature's values; what cannot be read is named, with its row."""
    values = derive.feature(spec, column, batch)
    if not (column.boolean or column.between):
        return values
    unread = pc.fill_null(pc.is_inf(values), fill_value=False)
    if pc.any(unread).as_py():
        place = unread.index(True).as_py()
        names = [column.between.first, column.between.last] if column.between else [column.name]
        shown = " and ".join(repr(batch.column(name)[place].as_py()) for name in names)
        expected = f"two dates as {column.between.format}" if column.between else column.allowed
        raise SourceError(f"row {first + place}: {column.name} is {shown}, expected {expected}")
    return values


def _outcome(spec: DatasetSpec, values: pa.Array, first: int) -> pa.Array:
    """Return the outcome in its type; it is a class, so there is nothing to impute or to round."""
    absent = wrong = values.is_null(nan_is_null=True)
    if not spec.target.is_text:
        # A fraction or an infinite value differs from its whole part: inf - inf is no number.
        wrong = pc.or_kleene(absent, pc.not_equal(pc.subtract(values, pc.trunc(values)), 0.0))
    if pc.any(wrong).as_py():
        place = wrong.index(True).as_py()
        shown = "missing" if absent[place].as_py() else values[place].as_py()
        raise SourceError(f"row {first + place}: {spec.target.name} is {shown}, expected {spec.target.allowed}")
    return values.cast(_schema(spec).field(spec.target.name).type)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(spec: DatasetSpec, fetched: sources.Fetched) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(fetched.path, pre_buffer=False)
        names = _names(spec, file.schema_arrow.names, fetched.uri)
        schema = _parsed_schema(spec, names)
        # Dates stay what they are.
        kept = dict(zip(names, file.schema_arrow.types, strict=True))
        typed = [
            kept[field.name] if pa.types.is_temporal(kept[field.name]) and field.name in spec.dates else field.type
            for field in schema
        ]
        schema = pa.schema(list(zip(schema.names, typed, strict=True)))
        for batch in file.iter_batches():
            yield batch.rename_columns(names).select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceError(f"{fetched.uri} is not a table of the spec's types: {error}") from error


def _parsed_schema(spec: DatasetSpec, names: list[str]) -> pa.Schema:
    """Return what is read of a table with these columns, and as what: a whole number may be spelled 3.0, booleans and
    dates are words.
    """
    types = {field.name: pa.float64() if field.type == pa.int64() else field.type for field in _schema(spec)}
    types |= {column.name: pa.string() for column in spec.columns if column.boolean}
    read = [*derive.needed(spec, names), spec.target.name, *spec.structure]
    return pa.schema([(name, types.get(name, pa.string())) for name in dict.fromkeys(read)])


def _csv(spec: DatasetSpec, fetched: sources.Fetched) -> Iterator[pa.RecordBatch]:
    names, skip = _head(spec, fetched)
    read, parse = tables.csv_options(spec.csv)
    read.column_names, read.skip_rows, read.block_size = names, skip, BLOCK_BYTES
    schema = _parsed_schema(spec, names)
    convert = pa.csv.ConvertOptions(
        column_types=schema,
        include_columns=schema.names,
        null_values=list(spec.missing_tokens),
        strings_can_be_null=True,
    )
    try:
        yield from pa.csv.open_csv(fetched.path, read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        # Arrow quotes the whole row, which is a patient's.
        raise SourceError(f"{fetched.uri}: {_fault(spec, fetched.path, read)}") from error


def _head(spec: DatasetSpec, fetched: sources.Fetched) -> tuple[list[str], int]:
    """Return the file's columns in their order, and the number of lines before the first row."""
    with fetched.path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_GZIP):
        raise SourceError(f"{fetched.uri} is compressed with gzip: unpack it first")
    lines = head.removeprefix(codecs.BOM_UTF8).splitlines()
    blank = next((count for count, line in enumerate(lines) if line.strip()), None)
    if blank is None:
        raise SourceError(f"{fetched.uri} is empty: expected a header or rows of {len(spec.columns) + 1} columns")
    try:
        line = lines[blank].decode(spec.csv.encoding)
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=spec.csv.delimiter))]
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x}"
        raise SourceError(
            f"{fetched.uri} is not UTF-8 text: {byte}; `csv: {{encoding: latin-1}}` reads Latin-1"
        ) from error
    except csv.Error as error:
        raise SourceError(f"{fetched.uri} is not a CSV file: {error}") from error
    cells = derive.safe_names(spec, cells)
    expected = list(dict.fromkeys([*derive.needed(spec, cells), spec.target.name, *spec.structure]))
    if len(cells) == 1 and (mark := next((mark for mark in ",;\t|" if mark in cells[0]), None)):
        known = spec.csv.delimiter
        raise SourceError(
            f"{fetched.uri} has its columns separated by {mark!r}, expected {known!r}: see `csv: delimiter`"
        )
    if not {*expected} & {*cells} and len(cells) == len(expected):
        return expected, blank
    return _names(spec, cells, fetched.uri), blank + 1


def _names(spec: DatasetSpec, header: list[str], where: str) -> list[str]:
    """Return a header's names, the outcome under the spec's own name.

    Raises:
        SourceError: a column is absent, unknown or there twice.
    """
    names = derive.safe_names(spec, header)
    expected = list(dict.fromkeys([*derive.needed(spec, names), spec.target.name, *spec.structure]))
    problems = [
        ("lacks", [name for name in expected if name not in names]),
        ("has the unknown", [name for name in names if name not in {*expected, *spec.ignore, *spec.dates}]),
        ("has twice the", sorted({name for name in names if names.count(name) > 1})),
    ]
    faults = [f"{verb} column {', '.join(map(repr, columns[:5]))}" for verb, columns in problems if columns]
    if faults:
        raise SourceError(f"{where} {' and '.join(faults)}; expected the {len(expected)} columns {', '.join(expected)}")
    return names


def _fault(spec: DatasetSpec, path: Path, read: pa.csv.ReadOptions) -> str:
    """Say which row, column and value a CSV could not be read for, going through it once more as text."""
    uneven: list[Any] = []

    def note(row: Any) -> str:
        uneven.append(row)
        return "skip"

    read.use_threads = False
    texts = pa.csv.ConvertOptions(column_types=dict.fromkeys(read.column_names, pa.string()))
    parse = pa.csv.ParseOptions(delimiter=spec.csv.delimiter, invalid_row_handler=note)
    tokens = pa.array(spec.missing_tokens, pa.string())
    numeric = {
        column.name: column.allowed
        for column in spec.columns
        if column.name in read.column_names and not (column.is_text or column.boolean)
    }
    if not spec.target.is_text:
        numeric[spec.target.name] = spec.target.allowed
    first = 1
    try:
        for batch in pa.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=texts):
            if uneven:
                row = uneven[0]
                return f"line {row.number} has {row.actual_columns} columns, expected {row.expected_columns}"
            for name, allowed in numeric.items():
                values = batch.column(name)
                fine = pc.or_(pc.is_in(values, value_set=tokens), pc.match_substring_regex(values, _NUMBER))
                if not pc.all(fine).as_py():
                    place = fine.index(False).as_py()
                    return f"row {first + place}: {name} is {values[place].as_py()!r}, expected {allowed}"
            first += batch.num_rows
    except pa.ArrowInvalid as error:
        reason = str(error)
        return "it is not UTF-8 text" if "UTF8" in reason else f"it is not a CSV file: {reason.partition(':')[0]}"
    return "a value is out of the range of its type"
