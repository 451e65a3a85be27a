"""Tables in fragments on a real Dask cluster: a worker dies in the middle, and the same comes out."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from healthrisk import datasets
from healthrisk.bundle import Bundle
from healthrisk.config import settings
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.inference.fragments import FragmentedJob, predict_fragments
from healthrisk.monitoring.table_counts import counts
from healthrisk.object_store import s3_client
from healthrisk.training import sides
from healthrisk.training.split import read_split, write_split
from tests.support.dask_cluster import dask_cluster, use
from tests.support.patience import ANSWER, until
from tests.support.s3 import BUCKET

pytestmark = pytest.mark.slow
FRAGMENTS = 9


def go_through(bundle: Bundle, source: str, folder: Path) -> list[Any]:
    """Return what each step says of a table, and every file that it writes."""
    folder.mkdir()
    spec, table, train, test = bundle.spec, folder / "table", folder / "train", folder / "test"
    timed = spec.model_copy(update={"time": "seen", "group": "patient"})
    said: list[Any] = [ingest(timed, source, table), validate(timed, table)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sides, "DRAWN_ROWS", 100)
        said += [write_split(timed, table, 0, train, test, folder / "preprocessor")]
        said += [side.read_bytes() for part in (train, test) for side in sorted(part.iterdir())]
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
    frame = frame.assign(seen=frame.index * 7 % 100, patient=frame.index // 2)
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


def objects(prefix: str) -> dict[str, bytes]:
    """Return what lies below a prefix: predictions, rejects, records and the manifest."""
    client = s3_client(settings())
    names = [str(each.object_name) for each in client.list_objects(BUCKET, f"{prefix}/", recursive=True)]
    return {name.removeprefix(f"{prefix}/"): client.get_object(BUCKET, name).data for name in names}


@pytest.fixture
def stored(endpoint: str, tmp_path: Path) -> str:
    """The address of fragments in a bucket; each has a row out of range, so three objects are put for it."""
    frame = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", na_values="?")
    frame.loc[0, "age"] = 420
    for place in range(FRAGMENTS):
        frame.head(100 + place).to_parquet(tmp_path / "one.parquet", index=False)
        s3_client(settings()).fput_object(BUCKET, f"in/{place}.parquet", str(tmp_path / "one.parquet"))
    return f"s3://{BUCKET}/in/"


def test_predictions_between_buckets_survive_a_worker_and_whoever_asked(
    make_bundle: Callable[..., Path], stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dies between a fragment's predictions and its record, the other when some fragments are done."""
    bundle = Bundle.open(make_bundle("heart-disease", "logistic_regression"))

    def job(prefix: str) -> FragmentedJob:
        return FragmentedJob(stored, f"s3://{BUCKET}/{prefix}/", str(bundle.path), bundle.digest, progress=False)

    assert predict_fragments(job("alone")).rejected_rows == FRAGMENTS
    alone = objects("alone")
    assert len(alone) == 3 * FRAGMENTS + 1
    with dask_cluster(tmp_path) as cluster, monkeypatch.context() as patched:
        use(cluster, patched)
        mortal = cluster.start_worker(fatal_put=2)
        cluster.start_worker()
        assert predict_fragments(job("together")).skipped_fragments == 0
        assert mortal.wait(ANSWER) == -signal.SIGKILL
        assert objects("together") == alone
        assert predict_fragments(job("together")).skipped_fragments == FRAGMENTS
        command = ["-m", "healthrisk", "predict", stored, "--out", f"s3://{BUCKET}/left/", "--bundle", bundle.path]
        with subprocess.Popen([sys.executable, *map(str, command), "--quiet"]) as asking:
            until(lambda: any("_manifest/" in name for name in objects("left")))
            asking.kill()
    # Here, what is left: nobody else works on it any more.
    assert predict_fragments(job("left")).skipped_fragments > 0
    assert objects("left") == alone
