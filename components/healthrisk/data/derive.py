"""From a table's own columns to the spec's: headers to safe names, words to booleans, two dates to a time.

What cannot be read becomes infinite, which no spec allows: whoever asked names the row and the value.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from healthrisk.spec import Column, DatasetSpec
from healthrisk.spec.column_names import composed
from healthrisk.spec.columns import Between

UNREADABLE = np.inf
# Compared in small letters.
_FALSE = ("0", "0.0", "false", "f", "no", "n")
_TRUE = ("1", "1.0", "true", "t", "yes", "y")


def safe_names(spec: DatasetSpec, headers: Sequence[str]) -> list[str]:
    """Return the spec's names of a table's headers; what the spec does not know keeps its own."""
    known = {column.in_table: column.name for column in spec.columns}
    known |= dict.fromkeys([spec.target.in_table, *spec.target.aliases], spec.target.name)
    return [known.get(composed(header), composed(header)) for header in headers]


def needed(spec: DatasetSpec, names: Sequence[str]) -> list[str]:
    """Return what a table must have for the spec's features, given what it has: a derived one's dates, or itself."""
    wanted = []
    for column in spec.columns:
        if column.between and column.name not in names:
            wanted += [column.between.first, column.between.last]
        else:
            wanted.append(column.name)
    return list(dict.fromkeys(wanted))


def feature(spec: DatasetSpec, column: Column, batch: pa.RecordBatch) -> pa.Array:
    """Return a feature's values in a batch that has safe names: those of the table, or what follows from them."""
    if column.between and column.name not in batch.schema.names:
        dates = column.between
        first, last = (without_tokens(spec, batch.column(name)) for name in (dates.first, dates.last))
        return time_between(dates, first, last)
    values = batch.column(column.name)
    return read_booleans(without_tokens(spec, values)) if column.boolean else values


def without_tokens(spec: DatasetSpec, values: pa.Array) -> pa.Array:
    """Return values in which the spec's tokens that mean missing are null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        tokens = pa.array(list(spec.missing_tokens)).cast(values.type)
        values = pc.if_else(pc.is_in(values, value_set=tokens), None, values)
    return values


def read_booleans(values: pa.Array) -> pa.Array:
    """Return 0 and 1 as float64, null where there is no value."""
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        return (values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values).cast(pa.float64())
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    places = pc.index_in(texts, value_set=pa.array([*_FALSE, *_TRUE], texts.type))
    numbers = pa.array([0.0] * len(_FALSE) + [1.0] * len(_TRUE)).take(places).fill_null(UNREADABLE)
    return pc.if_else(pc.is_null(values), None, numbers)


def are_booleans(texts: Sequence[str]) -> bool:
    """Say whether distinct texts are a word for no and one for yes."""
    words = {text.lower() for text in texts}
    return len(words) == 2 and any({no, yes} == words for no, yes in zip(_FALSE, _TRUE, strict=True))


def time_between(rule: Between, first: pa.Array, last: pa.Array) -> pa.Array:
    """Return days or completed years [rows] from one date to another, null where either is missing."""
    begin, end = _dates(first, rule.format), _dates(last, rule.format)
    if rule.unit == "days":
        passed = pc.subtract(end.cast(pa.int32()), begin.cast(pa.int32()))
    else:
        birthday = pc.add(pc.multiply(pc.month(begin), 100), pc.day(begin))
        today = pc.add(pc.multiply(pc.month(end), 100), pc.day(end))
        passed = pc.subtract(pc.subtract(pc.year(end), pc.year(begin)), pc.less(today, birthday).cast(pa.int64()))
    unread = pc.or_(_unread(first, begin), _unread(last, end))
    return pc.if_else(unread, UNREADABLE, passed.cast(pa.float64()))


def _dates(values: pa.Array, written: str) -> pa.Array:
    if pa.types.is_temporal(values.type):
        return values.cast(pa.date32(), safe=False)
    texts = pc.utf8_trim_whitespace(values.cast(pa.string()))
    return pc.strptime(texts, format=written, unit="s", error_is_null=True).cast(pa.date32(), safe=False)


def _unread(values: pa.Array, dates: pa.Array) -> pa.Array:
    return pc.and_(pc.is_valid(values), pc.is_null(dates))
