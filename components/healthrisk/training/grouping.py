"""Which rows belong together: a patient's, or rows that are equal to the last value. Both stand in one part alone.

A row in the hold-out that is also in training judges memory, not a model, and one patient's rows are nearly as alike.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from healthrisk.data import tables
from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec

Groups = NDArray[np.int64]


def groups_of(spec: DatasetSpec, table: Path) -> Groups | None:
    """Return a number [rows] for each row's group, or None where every row is a group of its own."""
    if not is_grouped(spec):
        return None
    if spec.group:
        keys = _texts(table, spec.group)
    else:
        batches = tables.read_parts(table, [*spec.features, spec.target.name])
        keys = np.concatenate([_hash_rows(batch) for batch in batches])
    groups, values = pd.factorize(keys)
    return None if len(values) == len(groups) else groups.astype(np.int64)


def is_grouped(spec: DatasetSpec) -> bool:
    """True if rows belong together.

    Groups are the values of the spec's `group` column; without one, rows that are equal to the last value, outcome
    included. Where the spec ignores duplicates, as that of a table of a few codes must, equal rows are two people.
    """
    return bool(spec.group) or spec.validation.duplicates.action != "ignore"


def hash_groups(spec: DatasetSpec, batch: pa.RecordBatch) -> NDArray[np.uint64] | None:
    """Return a hash [rows] of each row's group, or None where every row is a group of its own."""
    if not is_grouped(spec):
        return None
    return _hash_rows(batch.select([spec.group] if spec.group else [*spec.features, spec.target.name]))


def _hash_rows(batch: pa.RecordBatch) -> NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(batch.to_pandas(), index=False), dtype=np.uint64)


def times_of(spec: DatasetSpec, table: Path) -> NDArray[np.float64] | None:
    """Return when each row was [rows], in days, or as the number that stands there; None without a `time` column.

    Raises:
        TrainingError: a value is neither a number nor a date as 2026-11-21.
    """
    if not spec.time:
        return None
    texts = _texts(table, spec.time)
    return parse_times(spec, texts, are_numbers(texts))


def are_numbers(texts: NDArray[np.object_]) -> bool:
    """True if every text [rows] is a number. Of a table's times all have to be: 2026 among dates is one."""
    return bool(pd.to_numeric(pd.Series(texts), errors="coerce").notna().all())


def parse_times(spec: DatasetSpec, texts: NDArray[np.object_], numbers: bool, first: int = 0) -> NDArray[np.float64]:
    """Return texts [rows] as numbers, or as days since 1970; `first` is the number of the first row, from 0.

    Raises:
        TrainingError: one is neither a number nor a date as 2026-11-21.
    """
    if numbers:
        return np.asarray(pd.to_numeric(pd.Series(texts)), dtype=np.float64)
    dates = pd.to_datetime(pd.Series(texts), format="ISO8601", errors="coerce", utc=True)
    if dates.isna().any():
        row = int(np.flatnonzero(dates.isna())[0])
        said = f"row {first + row + 1}: {spec.time} is {texts[row]!r}"
        raise TrainingError(f"{said}, expected a date as 2026-11-21 or a number")
    return np.asarray((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1), dtype=np.float64)


def _texts(table: Path, name: str) -> NDArray[np.object_]:
    return np.asarray(tables.read_columns(table, [name]).column(0).to_numpy(), dtype=object)


def latest(times: NDArray[np.float64], groups: Groups | None, share: float) -> NDArray[np.bool_]:
    """Return a mask [rows] of about this share of the rows: those of the groups that were first seen last."""
    members = np.arange(len(times)) if groups is None else groups
    first = np.full(members.max() + 1, np.inf)
    np.minimum.at(first, members, times)
    seen = first[members]
    # Rows of one day stay on one side.
    return np.asarray(seen > np.quantile(seen, 1 - share, method="inverted_cdf"))
