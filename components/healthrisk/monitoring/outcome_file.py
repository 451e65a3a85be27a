"""Outcomes out of a file: a table with the columns `receipt` and `outcome`, and `observed_at` where it is known."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from healthrisk.data import tables
from healthrisk.documents import Document
from healthrisk.errors import SourceError
from healthrisk.monitoring.outcome_intake import OutcomeIntake, Returned

# One transaction's: a kill costs no more than these, and the next run counts them.
ROWS_AT_ONCE = 1000
REJECTS = pa.schema([("row", pa.int64()), ("kind", pa.string()), ("reason", pa.string())])


class FileSummary(Document):
    """What was done with a file's rows; `refused` is by kind, and `rejects` says where each reason stands."""

    rows: int
    counted: int
    repeated: int
    refused: dict[str, int]
    rejects: str = ""


def take_file(intake: OutcomeIntake, path: Path, rejects: Path) -> FileSummary:
    """Return the outcomes of a CSV or Parquet file; what is refused goes to `rejects`, row by row with its reason.

    It may be called again with the same file, whole or in part: what was counted before changes nothing.

    Raises:
        SourceError: the file cannot be read, or lacks a column.
        StoreError: the database or a bundle cannot be reached; what was counted until then stays.
    """
    if path.resolve() == rejects.resolve():
        raise SourceError(f"{path} and the file of rejects: expected two different files")
    done: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    rows = 0
    with ExitStack() as stack:
        writer = stack.enter_context(tables.Writer(rejects))
        for batch, _ in tables.read(path, ROWS_AT_ONCE):
            rulings = intake.take(_returned(batch, path))
            lines = [
                {"row": row, "kind": ruling.kind, "reason": ruling.reason}
                for row, ruling in enumerate(rulings, rows + 1)
                if ruling.result == "refused"
            ]
            if lines:
                writer.write(pa.RecordBatch.from_pylist(lines, schema=REJECTS))
            rows += batch.num_rows
            done.update(ruling.result for ruling in rulings)
            refused.update(ruling.kind for ruling in rulings if ruling.result == "refused")
    if not refused:
        rejects.unlink(missing_ok=True)
    return FileSummary(
        rows=rows,
        counted=done["counted"],
        repeated=done["repeated"],
        refused=dict(sorted(refused.items())),
        rejects=str(rejects) if refused else "",
    )


def _returned(batch: pa.RecordBatch, path: Path) -> list[Returned]:
    names = batch.schema.names
    if absent := [name for name in ("receipt", "outcome") if name not in names]:
        raise SourceError(f"{path} has no column {absent[0]!r}; it needs receipt and outcome, and may have observed_at")
    observed = batch.column("observed_at").to_pylist() if "observed_at" in names else [None] * batch.num_rows
    columns = (batch.column("receipt").to_pylist(), batch.column("outcome").to_pylist(), observed)
    return [Returned(*row) for row in zip(*columns, strict=True)]
