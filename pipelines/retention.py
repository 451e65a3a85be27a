"""How long patients' rows lie in the folders of finished runs: what a run leaves holds its tables, plain.

A bundle, a report and MLflow hold no row of a patient, so they stay.
"""

import shutil
import time
from pathlib import Path

# The table as it was read, and its two parts.
TABLES = ("ingest/table", "preprocess/train", "preprocess/test")
_DAY = 86400


def forget_rows(runs: Path, days: float) -> int:
    """Delete the tables of runs that ended more than so many days ago; return how many tables those were."""
    before, deleted = time.time() - days * _DAY, 0
    for name in TABLES:
        for table in runs.glob(f"*/{name}"):
            if table.stat().st_mtime <= before:
                shutil.rmtree(table) if table.is_dir() else table.unlink(missing_ok=True)
                deleted += 1
    return deleted
