"""Write a source as a Parquet table of the spec's columns: float64 numbers, texts, and null where missing.

Of a source in fragments each becomes a part of the table, by itself.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from healthrisk import engine
from healthrisk.data import derive, sources, tables
from healthrisk.data.fragments import Fragment, at_hand, digest_of
from healthrisk.data.source_batches import read_batches, table_schema
from healthrisk.documents import Document
from healthrisk.errors import SourceError
from healthrisk.spec import Column, DatasetSpec


class IngestRecord(Document):
    """Where a table came from and what it holds.

    `source` is the name of one of the spec's sources or of a file, `sha256` the digest of the bytes read, `missing` the
    number of missing values by feature. Of fragments the digest is that of their names and digests, as `sha256sum`
    prints them: `sha256sum *.csv | sha256sum`.
    """

    source: str
    uri: str
    sha256: str
    rows: int
    columns: tuple[str, ...]
    missing: dict[str, int]


@dataclass(frozen=True)
class _Part:
    """What was read of a file: the digest of its bytes, its rows, and the missing values by feature."""

    sha256: str
    rows: int
    missing: dict[str, int]


def ingest(spec: DatasetSpec, data: str, table_path: Path) -> IngestRecord:
    """Write the table to `table_path` and return the record of it: a file, or a folder where there are fragments.

    `data` names a file, a folder or an address, or one of the spec's sources; empty, the spec's first source is read.

    Raises:
        SourceError: the source cannot be had or read, or is not a table of the spec's columns.
    """
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=table_path.parent) as scratch:
        source = sources.fetch(spec, data, Path(scratch))
        written = Path(scratch) / "table"
        if isinstance(source, sources.Fetched):
            name, sha256, done = source.name, source.sha256, [_write(spec, source, written)]
        else:
            done = _write_fragments(spec, source.fragments, written)
            sha256 = digest_of((one.name, part.sha256) for one, part in zip(source.fragments, done, strict=True))
            name = sources.identify(spec, source, sha256)
        if not (rows := sum(part.rows for part in done)):
            raise SourceError(f"{source.uri} has no rows")
        if table_path.is_dir():
            shutil.rmtree(table_path)
        written.replace(table_path)
    return IngestRecord(
        source=name,
        uri=source.uri,
        sha256=sha256,
        rows=rows,
        columns=(*spec.features, spec.target.name),
        missing={name: sum(part.missing[name] for part in done) for name in spec.features},
    )


def _write_fragments(spec: DatasetSpec, fragments: Sequence[Fragment], folder: Path) -> list[_Part]:
    folder.mkdir()
    with engine.connect(folder, fragments[0].uri) as tasks:
        jobs = ((spec, fragment, tables.part_path(folder, place)) for place, fragment in enumerate(fragments))
        return list(tasks.map(_write_fragment, jobs))


def _write_fragment(job: tuple[DatasetSpec, Fragment, Path]) -> _Part:
    spec, fragment, part = job
    with at_hand(fragment) as path:
        fetched = sources.Fetched(path, fragment.name, fragment.uri, sources.sha256(path))
        return _write(spec, fetched, part)


def _write(spec: DatasetSpec, source: sources.Fetched, path: Path) -> _Part:
    """Write cleaned batches of a file."""
    rows, missing = 0, dict.fromkeys(spec.features, 0)
    with tables.scratch_writer(path, table_schema(spec)) as writer:
        for batch in read_batches(spec, source):
            clean = _clean(spec, batch, rows + 1)
            writer.write_batch(clean)
            rows += clean.num_rows
            for name in missing:
                missing[name] += clean.column(name).null_count
    return _Part(source.sha256, rows, missing)


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
    return pa.record_batch(arrays, schema=table_schema(spec))


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
    return values.cast(table_schema(spec).field(spec.target.name).type)
