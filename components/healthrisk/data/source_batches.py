"""A source's rows in batches, out of CSV or Parquet: which columns are read, as what, and what cannot be read.

A CSV may have a header in any order, or none, with the columns in the spec's order.
"""

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from healthrisk.data import derive, sources, tables
from healthrisk.data.rules import NUMBER
from healthrisk.errors import SourceError
from healthrisk.spec import DatasetSpec

BLOCK_BYTES = 8 * 2**20
_HEAD_BYTES = 2**20
_GZIP = b"\x1f\x8b"
# What the reader of CSV takes for a number: what every other part does, and the values that are none.
_NUMBER = rf"^{NUMBER}$|^[ \t]*[+-]?(nan|inf|infinity)[ \t]*$"


def table_schema(spec: DatasetSpec) -> pa.Schema:
    """Return the ingested table's columns and types."""
    fields = [(column.name, pa.string() if column.is_text else pa.float64()) for column in spec.columns]
    fields.append((spec.target.name, pa.string() if spec.target.is_text else pa.int64()))
    return pa.schema([*fields, *((name, pa.string()) for name in spec.structure)])


def read_batches(spec: DatasetSpec, fetched: sources.Fetched) -> Iterator[pa.RecordBatch]:
    """Yield a source's rows: numbers as they are, words and dates as texts, null where a token says missing.

    Raises:
        SourceError: the file is no table of the spec's columns, or a value cannot be read.
    """
    return _parquet(spec, fetched) if _is_parquet(fetched.path) else _csv(spec, fetched)


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
    types = {field.name: pa.float64() if field.type == pa.int64() else field.type for field in table_schema(spec)}
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
