"""What a process needs of memory does not grow with a table's rows, from ingest to predictions."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from healthrisk.bundle import Bundle, parity
from tests.support import patience

ROWS = 50_000
# Bounds of what is exact or drawn whole, far below these tables. Prints the peak after each step, in KiB.
CODE = """
import json, pathlib, re, sys
from healthrisk.bundle import Bundle
from healthrisk.data import ingest, repeated_rows, validate
from healthrisk.inference import fragments
from healthrisk.monitoring import table_counts
from healthrisk.training import first_seen, sides, split

source, folder, bundle = sys.argv[1], pathlib.Path(sys.argv[2]), Bundle.open(pathlib.Path(sys.argv[3]))
spec, table, peaks = bundle.spec.model_copy(update={"time": "seen", "group": "patient"}), folder / "table", {}
repeated_rows.KEPT, sides.DRAWN_ROWS, sides.FIT_ROWS, first_seen._SPAN_ROWS = 10_000, 10_000, 10_000, 100_000
sides_of = {"": spec.model_copy(update={"time": ""}), " by time": spec}

def note(step):
    # Not ru_maxrss: a child begins with its parent's.
    status = pathlib.Path("/proc/self/status").read_text()
    peaks[step] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])

ingest.ingest(spec, source, table)
note("ingest")
assert "about" in str(validate.validate(spec, table).checks)
note("validate")
for how, asked in sides_of.items():
    split.write_split(asked, table, 0, folder / "train", folder / "test", folder / "preprocessor")
    note("split" + how)
table_counts.counts(bundle, source)
note("drift")
fragments.predict_fragments(fragments.FragmentedJob(source, str(folder / "out"), str(bundle.path), bundle.digest))
note("predict")
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_fragments(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle("heart-disease", "logistic_regression"))
    measured = []
    for count in (4, 16):
        source, folder = tmp_path / f"in-{count}", tmp_path / f"of-{count}"
        source.mkdir()
        folder.mkdir()
        for place in range(count):
            matrix = parity.generate_rows(bundle.spec, ROWS, place)
            outcome = pa.array(np.random.default_rng(place).integers(0, 5, ROWS))
            seen, patient = np.random.default_rng(place).integers(0, 1_000_000, (2, ROWS))
            columns = [*(pa.array(values, from_pandas=True) for values in matrix.T), outcome, seen, patient]
            names = [*bundle.spec.features, bundle.spec.target.name, "seen", "patient"]
            table = pa.table(columns, names)
            pq.write_table(table, source / f"{place:03}.parquet")
        done = patience.run([sys.executable, "-c", CODE, source, folder, bundle.path])
        assert done.returncode == 0, done.stderr
        measured.append(json.loads(done.stdout))
    few, many = measured
    assert many["predict"] < 500 * 1024
    # A row of this table is 128 bytes, so that 600,000 more are 73 MiB wherever they are held once.
    assert all(many[step] - few[step] < 32 * 1024 for step in few), measured
