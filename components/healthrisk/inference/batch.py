"""Batch prediction: a table in, the same rows with predictions out, in bounded memory."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from healthrisk.data import tables
from healthrisk.data.partition import Partitioner
from healthrisk.documents import Document
from healthrisk.errors import SourceError, ValidationError
from healthrisk.inference.scorer import risk_levels
from healthrisk.spec import DatasetSpec

Score = Callable[[NDArray[np.float64]], NDArray[np.float32]]
BATCH_ROWS = 32_768
# A request of so many rows is far below every limit of a server.
SERVED_ROWS = 4096
# The preprocessor is twice as fast on rows that a processor's cache holds.
_CACHED_ROWS = 8192


@dataclass(frozen=True)
class Job:
    """What to read and where to write. `rejects` takes the values that are not allowed; `strict` stops at the first."""

    source: Path
    out: Path
    rejects: Path
    strict: bool = False
    batch_rows: int = BATCH_ROWS
    progress: bool = True


class Summary(Document):
    """What a job did: its rows, how many of them were rejected, its time, and the files it wrote.

    `version` and `signature` are the bundle's that scored the rows, or `served` is what their server took: requests,
    and milliseconds.
    """

    rows: int
    rejected_rows: int
    seconds: float
    rows_per_second: int
    out: Path
    rejects: Path | None = None
    version: str | None = None
    signature: str | None = None
    served: dict[str, float] | None = None


def predict(job: Job, spec: DatasetSpec, score: Score) -> Summary:
    """Score every row of a table; `score` maps an encoded matrix to probabilities.

    Both files appear whole or not at all; without rejected rows there is no file of rejects, not even a previous one.

    Raises:
        SourceError: the table cannot be read or lacks a column, or a file cannot be written.
        ValidationError: a row is not valid, and the job is strict.
    """
    if len({path.resolve() for path in (job.source, job.out, job.rejects)}) < 3:
        raise SourceError(f"{job.source}, {job.out} and {job.rejects}: expected three different files")
    began = time.perf_counter()
    partitioner = Partitioner(spec)
    rows = rejected = 0
    unit = "row" if tables.format_of(job.source) == "parquet" else "B"
    with ExitStack() as stack:
        out = stack.enter_context(tables.Writer(job.out))
        rejects = stack.enter_context(tables.Writer(job.rejects))
        total = tables.size_of(job.source)
        bar = stack.enter_context(tqdm(total=total, unit=unit, unit_scale=True, disable=None if job.progress else True))
        for batch, share in tables.read(job.source, job.batch_rows, spec.csv):
            partitioned = partitioner.partition(batch, rows + 1)
            if partitioned.rejects.num_rows:
                _reject(job, partitioned.rejects)
                rejects.write(partitioned.rejects)
            good = partitioned.good
            rows += batch.num_rows
            rejected += batch.num_rows - int(good.sum())
            good_rows = batch if good.all() else batch.filter(pa.array(good))
            out.write(_with_predictions(good_rows, spec, _in_chunks(score, partitioned.matrix)))
            bar.update(share)
    if not rejected:
        job.rejects.unlink(missing_ok=True)
    seconds = time.perf_counter() - began
    speed = round(rows / seconds)
    summary = Summary(rows=rows, rejected_rows=rejected, seconds=round(seconds, 3), rows_per_second=speed, out=job.out)
    return summary.model_copy(update={"rejects": job.rejects}) if rejected else summary


def _reject(job: Job, rejects: pa.RecordBatch) -> None:
    if job.strict:
        first = {name: rejects.column(name)[0].as_py() for name in rejects.schema.names}
        shown = "missing" if first["value"] is None else repr(first["value"])
        raise ValidationError(f"row {first['row']}: {first['feature']} is {shown}, expected {first['expected']}")


def _in_chunks(score: Score, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    starts = range(0, max(len(matrix), 1), _CACHED_ROWS)
    return np.concatenate([score(matrix[start : start + _CACHED_ROWS]) for start in starts])


def _with_predictions(batch: pa.RecordBatch, spec: DatasetSpec, probabilities: NDArray[np.float32]) -> pa.RecordBatch:
    """Append the prediction, its probabilities (of the event, or of every class) and the risk level."""
    classes = spec.target.classes
    values = pa.array([cls.value for cls in classes]).take(pa.array(probabilities.argmax(axis=1)))
    if spec.is_binary:
        shares = {"probability": probabilities[:, 1]}
    else:
        shares = {f"probability_{cls.value}": probabilities[:, place] for place, cls in enumerate(classes)}
    added = {
        "prediction": values,
        **{name: pa.array(np.ascontiguousarray(share)) for name, share in shares.items()},
        "risk_level": pa.array(risk_levels(spec, probabilities), pa.string()),
    }
    given = {name: batch.column(name) for name in batch.schema.names if name not in added}
    return pa.RecordBatch.from_pydict({**given, **added})
