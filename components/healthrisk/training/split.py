"""The training part and the hold-out as files: encoded Parquet tables, written and read in bounded memory."""

from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from healthrisk.data import encoding, tables
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing

ROWS_AT_ONCE = 250_000
# A larger training part is sampled for fitting: medians and means of half a million rows no longer move, and the
# memory needed stays the same however long the table is.
FIT_ROWS = 500_000


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
    held_out = preprocessing.split(target, seed)
    schema = pa.schema([*((name, pa.float64()) for name in spec.features), (spec.target.name, pa.int64())])
    sampled = _sample(~held_out, seed)
    kept, begin = [], 0
    with tables.scratch_writer(train, schema) as to_train, tables.scratch_writer(test, schema) as to_test:
        for batch in source.iter_batches(ROWS_AT_ONCE):
            matrix, end = encoding.encode(spec, batch), begin + batch.num_rows
            mask, y = held_out[begin:end], target[begin:end]
            _write(to_train, schema, matrix[~mask], y[~mask])
            _write(to_test, schema, matrix[mask], y[mask])
            kept.append(matrix[sampled[begin:end]])
            begin = end
    fitted, serving = preprocessing.fit(spec, np.concatenate(kept))
    preprocessor.mkdir(parents=True, exist_ok=True)
    joblib.dump(fitted, preprocessor / "preprocessor.joblib")
    (preprocessor / "preprocessor.json").write_text(serving.to_json(), "utf-8")
    held = int(held_out.sum())
    return len(target) - held, held


def read_split(spec: DatasetSpec, path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a part's encoded matrix [rows, features] and class positions [rows]."""
    table = pq.read_table(path)
    matrix = np.empty((table.num_rows, len(spec.features)))
    for position, name in enumerate(spec.features):
        matrix[:, position] = table.column(name).to_numpy()
    return matrix, np.asarray(table.column(spec.target.name).to_numpy(), dtype=np.int64)


def _write(writer: pq.ParquetWriter, schema: pa.Schema, matrix: NDArray[np.float64], y: NDArray[np.int64]) -> None:
    writer.write_table(pa.table([*matrix.T, y], schema=schema))


def _sample(training: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return a mask of at most FIT_ROWS rows of the training part."""
    rows = np.flatnonzero(training)
    if len(rows) <= FIT_ROWS:
        return training
    mask = np.zeros(len(training), dtype=bool)
    mask[np.random.default_rng(seed).choice(rows, FIT_ROWS, replace=False)] = True
    return mask
