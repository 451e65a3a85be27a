"""Ingest, validate and preprocess one large table; print the seconds of each."""

import json
import sys
import time
from pathlib import Path

from healthrisk import spec as specs
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.training.split import write_split

spec, table = specs.load("heart-disease"), Path(sys.argv[1])
folder = table.parent
marks = [time.perf_counter()]
ingest(spec, str(table), folder / "table")
marks.append(time.perf_counter())
validate(spec, folder / "table")
marks.append(time.perf_counter())
write_split(spec, folder / "table", 0, folder / "train", folder / "test", folder / "preprocessor")
marks.append(time.perf_counter())
steps = ("ingest", "validate", "preprocess")
print(json.dumps({name: end - begin for name, begin, end in zip(steps, marks, marks[1:], strict=False)}))
