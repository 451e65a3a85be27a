"""Which rows belong together: a patient's, or rows that are equal to the last value. Both stand in one part alone.

A row in the hold-out that is also in training judges memory, not a model, and one patient's rows are nearly as alike.
"""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec

Groups = NDArray[np.int64]
ROWS_AT_ONCE = 250_000


def groups_of(spec: DatasetSpec, table: pq.ParquetFile) -> Groups | None:
    """Return a number [rows] for each row's group, or None where every row is a group of its own.

    Groups are the values of the spec's `group` column; without one, rows that are equal to the last value, outcome
    included. Where the spec ignores duplicates, as that of a table of a few codes must, equal rows are two people.
    """
    if spec.group:
        keys = _texts(table, spec.group)
    elif spec.validation.duplicates.action == "ignore":
        return None
    else:
        batches = table.iter_batches(ROWS_AT_ONCE, columns=[*spec.features, spec.target.name])
        hashes = (pd.util.hash_pandas_object(batch.to_pandas(), index=False) for batch in batches)
        keys = np.concatenate([np.asarray(hashed) for hashed in hashes])
    groups, values = pd.factorize(keys)
    return None if len(values) == len(groups) else groups.astype(np.int64)


def times_of(spec: DatasetSpec, table: pq.ParquetFile) -> NDArray[np.float64] | None:
    """Return when each row was [rows], in days, or as the number that stands there; None without a `time` column.

    Raises:
        TrainingError: a value is neither a number nor a date as 2026-11-21.
    """
    if not spec.time:
        return None
    texts = pd.Series(_texts(table, spec.time))
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.notna().all():
        return np.asarray(numbers, dtype=np.float64)
    dates = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if dates.isna().any():
        row = int(np.flatnonzero(dates.isna())[0])
        raise TrainingError(f"row {row + 1}: {spec.time} is {texts[row]!r}, expected a date as 2026-11-21 or a number")
    return np.asarray((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1), dtype=np.float64)


def _texts(table: pq.ParquetFile, name: str) -> NDArray[np.object_]:
    return np.asarray(table.read([name]).column(0).to_numpy(zero_copy_only=False), dtype=object)


def latest(times: NDArray[np.float64], groups: Groups | None, share: float) -> NDArray[np.bool_]:
    """Return a mask [rows] of about this share of the rows: those of the groups that were first seen last."""
    members = np.arange(len(times)) if groups is None else groups
    first = np.full(members.max() + 1, np.inf)
    np.minimum.at(first, members, times)
    seen = first[members]
    # Rows of one day stay on one side.
    return np.asarray(seen > np.quantile(seen, 1 - share, method="inverted_cdf"))
