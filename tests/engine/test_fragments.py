"""Tables in fragments on a real Dask cluster: a worker dies in the middle, and the same comes out."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from healthrisk import datasets
from healthrisk.bundle import Bundle
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.inference.fragments import FragmentedJob, predict_fragments
from healthrisk.monitoring.table_counts import counts
from healthrisk.training.split import read_split, write_split
from tests.support.dask_cluster import dask_cluster, use
from tests.support.patience import ANSWER

pytestmark = pytest.mark.slow


def go_through(bundle: Bundle, source: str, folder: Path) -> list[Any]:
    """Return what each step says of a table, and every file that it writes."""
    folder.mkdir()
    spec, table, train, test = bundle.spec, folder / "table", folder / "train", folder / "test"
    said = [ingest(spec, source, table), validate(spec, table)]
    said += [write_split(spec, table, 0, train, test, folder / "preprocessor"), counts(bundle, source)]
    out = folder / "out"
    said += [predict_fragments(FragmentedJob(source, str(out), str(bundle.path), bundle.digest)).rows]
    said += [matrix.tobytes() + y.tobytes() for matrix, y in (read_split(spec, side) for side in (train, test))]
    return [*said, {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}]


def test_a_cluster_that_loses_a_worker_does_the_same_with_fragments(
    make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(make_bundle("heart-disease", "logistic_regression"))
    frame = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", na_values="?")
    source = tmp_path / "in"
    source.mkdir()
    for place, begin in enumerate(range(0, 303, 44)):
        frame.iloc[begin : begin + 44].to_csv(source / f"{place}.csv", index=False)
    here = go_through(bundle, str(source), tmp_path / "here")
    with dask_cluster(tmp_path) as cluster:
        use(cluster, monkeypatch)
        cluster.start_worker()
        mortal = cluster.start_worker(fatal_task=6)
        assert go_through(bundle, str(source), tmp_path / "there") == here
        assert mortal.wait(ANSWER) == -signal.SIGKILL
