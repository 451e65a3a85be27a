"""The training part and the hold-out as files: encoded Parquet tables, written and read in bounded memory."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from healthrisk.data import encoding, tables
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing
from healthrisk.training.grouping import ROWS_AT_ONCE, Groups, groups_of, times_of
from healthrisk.training.sampling import Part

# A larger training part is sampled for fitting: medians and means of half a million rows no longer move, and the
# memory needed stays the same however long the table is.
FIT_ROWS = 500_000

# No column of a spec begins like these.
_GROUP, _SITE = "_group", "_site"


def write_split(
    spec: DatasetSpec, table: Path, seed: int, train: Path, test: Path, preprocessor: Path
) -> tuple[int, int]:
    """Split a validated Parquet table, fit the preprocessor on its training part, and write the parts and a folder.

    The folder holds the fitted preprocessor as JSON and as joblib. Returns the sizes of training part and hold-out.

    Raises:
        TrainingError: the table cannot be split by class.
    """
    source = pq.ParquetFile(table, pre_buffer=False)
    target = encoding.encode_target(spec, source.read([spec.target.name]))
    groups = groups_of(spec, source)
    held_out = preprocessing.split(target, seed, groups, times_of(spec, source))
    common = ([(_GROUP, pa.int64())] if groups is not None else []) + ([(_SITE, pa.string())] if spec.site else [])
    fields = [*((name, pa.float64()) for name in spec.features), (spec.target.name, pa.int64()), *common]
    schema = pa.schema(fields)
    sampled = _sample(~held_out, seed)
    kept, begin = [], 0
    with tables.scratch_writer(train, schema) as to_train, tables.scratch_writer(test, schema) as to_test:
        for batch in source.iter_batches(ROWS_AT_ONCE):
            matrix, end = encoding.encode(spec, batch), begin + batch.num_rows
            mask, y = held_out[begin:end], target[begin:end]
            columns = [*matrix.T, y]
            columns += [groups[begin:end]] if groups is not None else []
            columns += [batch.column(spec.site).to_numpy(zero_copy_only=False)] if spec.site else []
            _write(to_train, schema, columns, ~mask)
            _write(to_test, schema, columns, mask)
            kept.append(matrix[sampled[begin:end]])
            begin = end
    fitted, serving = preprocessing.fit(spec, np.concatenate(kept))
    preprocessor.mkdir(parents=True, exist_ok=True)
    joblib.dump(fitted, preprocessor / "preprocessor.joblib")
    (preprocessor / "preprocessor.json").write_text(serving.to_json(), "utf-8")
    held = int(held_out.sum())
    return len(target) - held, held


def read_split(spec: DatasetSpec, path: Path) -> Part:
    """Return a part's encoded matrix [rows, features] and class positions [rows]."""
    table = pq.read_table(path)
    matrix = np.empty((table.num_rows, len(spec.features)))
    for position, name in enumerate(spec.features):
        matrix[:, position] = table.column(name).to_numpy()
    return matrix, np.asarray(table.column(spec.target.name).to_numpy(), dtype=np.int64)


def read_groups(path: Path) -> Groups | None:
    """Return which group each row of a part belongs to [rows]; None where every row is a group of its own."""
    if _GROUP not in pq.read_schema(path).names:
        return None
    return np.asarray(pq.read_table(path, columns=[_GROUP]).column(0).to_numpy(), dtype=np.int64)


def read_common(*parts: Path) -> tuple[Groups | None, NDArray[np.object_] | None]:
    """Return which group and which site each row of all parts belongs to [rows]; None where the parts do not say."""
    groups, sites = None, None
    names = pq.read_schema(parts[0]).names
    if _GROUP in names:
        groups = np.concatenate([read_groups(part) for part in parts])
    if _SITE in names:
        sites = np.concatenate([pq.read_table(part, columns=[_SITE]).column(0).to_numpy() for part in parts])
    return groups, sites


def _write(writer: pq.ParquetWriter, schema: pa.Schema, columns: list[Any], mask: NDArray[np.bool_]) -> None:
    writer.write_table(pa.table([column[mask] for column in columns], schema=schema))


def _sample(training: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return a mask of at most FIT_ROWS rows of the training part."""
    rows = np.flatnonzero(training)
    if len(rows) <= FIT_ROWS:
        return training
    mask = np.zeros(len(training), dtype=bool)
    mask[np.random.default_rng(seed).choice(rows, FIT_ROWS, replace=False)] = True
    return mask
