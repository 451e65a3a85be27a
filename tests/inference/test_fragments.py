"""Batch prediction of a table in fragments: one file for each, exactly once, whenever the run before was killed."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from healthrisk.bundle import Bundle
from healthrisk.config import settings
from healthrisk.object_store import s3_client
from tests.support import patience
from tests.support.commands import healthrisk
from tests.support.s3 import BUCKET

pytestmark = pytest.mark.slow
FRAGMENTS = 9


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Bundle:
    return Bundle.open(make_bundle("heart-disease", "logistic_regression"))


@pytest.fixture
def table(bundle: Bundle, raw_rows: Any) -> pa.Table:
    """All rows a hundred times, one of them out of range."""
    rows = pa.Table.from_pylist([{"patient": n, **row} for n, row in enumerate(raw_rows(bundle.path))])
    ages = pa.array([420.0 if n == 100 else age for n, age in enumerate(rows["age"].to_pylist())])
    return pa.concat_tables([rows.set_column(rows.schema.get_field_index("age"), "age", ages)] * 100)


def cut(table: pa.Table, folder: Path, kind: str = "parquet") -> Path:
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    each = -(-table.num_rows // FRAGMENTS)
    for place in range(FRAGMENTS):
        piece, path = table.slice(place * each, each), folder / f"part-{place}.{kind}"
        pq.write_table(piece, path) if kind == "parquet" else pa.csv.write_csv(piece, path)
    return folder


def predict(bundle: Bundle, source: object, out: object, *options: str) -> dict[str, Any]:
    done = healthrisk("predict", source, "--out", out, "--bundle", bundle.path, "--quiet", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def files(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder: every predicted row, its record and the manifest."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_predictions_are_those_of_one_file(bundle: Bundle, table: pa.Table, tmp_path: Path, kind: str) -> None:
    folder, out = cut(table, tmp_path / "in", kind), tmp_path / "out"
    summary = predict(bundle, folder, out)
    assert (summary["fragments"], summary["skipped_fragments"]) == (FRAGMENTS, 0)
    assert (summary["rows"], summary["rejected_rows"]) == (30_300, 100)
    pq.write_table(table, tmp_path / "one.parquet")
    predict(bundle, tmp_path / "one.parquet", tmp_path / "scored.parquet")
    names = sorted(path.name for path in out.iterdir() if path.name[0] != "_")
    assert names == [f"part-{place}.{kind}" for place in range(FRAGMENTS)]
    read = pq.read_table if kind == "parquet" else pa.csv.read_csv
    parts, whole = pa.concat_tables([read(out / name) for name in names]), pq.read_table(tmp_path / "scored.parquet")
    assert parts["patient"].to_pylist() == whole["patient"].to_pylist()
    assert parts["risk_level"].to_pylist() == whole["risk_level"].to_pylist()
    if kind == "parquet":
        assert parts.equals(whole)
    manifest = json.loads((out / "_manifest.json").read_text())
    assert (manifest["version"], manifest["rows"]) == (bundle.version, 30_300)
    assert [each["fragment"] for each in manifest["fragments"]] == names
    rejects = [pa.csv.read_csv(path) for path in sorted((out / "_rejects").iterdir())]
    assert sum(each.num_rows for each in rejects) == 100
    assert set(pa.concat_tables(rejects)["feature"].to_pylist()) == {"age"}


def test_only_what_has_changed_is_done_anew(
    bundle: Bundle, table: pa.Table, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = cut(table, tmp_path / "in"), tmp_path / "out"
    predict(bundle, folder, out)
    before = files(out)
    assert predict(bundle, folder, out)["skipped_fragments"] == FRAGMENTS
    assert files(out) == before
    # An input, an output and rejects that are no longer what the records say, and a record that is lost.
    pq.write_table(table.slice(0, 5), folder / "part-0.parquet")
    (out / "part-1.parquet").write_bytes(b"altered")
    (out / "_rejects" / "part-2.csv").unlink()
    (out / "_manifest" / "part-3.parquet.json").unlink()
    assert predict(bundle, folder, out)["skipped_fragments"] == FRAGMENTS - 4
    after = files(out)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"part-0.parquet", "_manifest/part-0.parquet.json", "_manifest.json"}
    assert set(before) - set(after) == {"_rejects/part-0.csv"}
    other = Bundle.open(make_bundle("heart-disease", "logistic_regression", 8))
    assert predict(other, folder, out)["skipped_fragments"] == 0
    manifest = json.loads((out / "_manifest.json").read_text())
    assert {each["bundle"] for each in manifest["fragments"]} == {other.digest} != {bundle.digest}


def kill(bundle: Bundle, source: object, out: object, done: int) -> None:
    """Run `predict` in a process that kills itself at once when so many files were put in place, before the next."""
    put = "Minio.fput_object" if str(out).startswith("s3://") else "Path.replace"
    code = f"""
import os, signal
from pathlib import Path
from minio import Minio
from healthrisk.__main__ import main

left, put = iter(range({done})), {put}

def dying(*arguments, **named):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(*arguments, **named)

{put} = dying
main()
"""
    command = [sys.executable, "-c", code, "predict", source, "--out", out, "--bundle", bundle.path, "--quiet"]
    assert patience.run(command).returncode == -signal.SIGKILL


# Six of each fragment: predictions, rejects and the record are written aside, and put in their places.
@pytest.mark.parametrize(("put", "fragments"), [(0, 0), (3, 0), (4, 0), (5, 0), (6, 1), (27, 4), (53, 8)])
def test_a_killed_run_is_taken_up_where_it_was(
    bundle: Bundle, table: pa.Table, tmp_path: Path, put: int, fragments: int
) -> None:
    folder, out = cut(table, tmp_path / "in"), tmp_path / "out"
    predict(bundle, folder, tmp_path / "undisturbed")
    kill(bundle, folder, out, put)
    assert len(list(out.glob("_manifest/*.json"))) == fragments
    assert not (out / "_manifest.json").exists()
    # What it was writing lies aside, and goes.
    assert list(out.glob(".writing-*"))
    assert predict(bundle, folder, out)["skipped_fragments"] == fragments
    assert files(out) == files(tmp_path / "undisturbed")


def test_between_buckets_too(bundle: Bundle, table: pa.Table, endpoint: str, tmp_path: Path) -> None:
    client, folder = s3_client(settings()), cut(table, tmp_path / "in")
    for path in folder.glob("*.parquet"):
        client.fput_object(bucket_name=BUCKET, object_name=f"in/{path.name}", file_path=str(path))

    def stored() -> dict[str, bytes]:
        names = [str(each.object_name) for each in client.list_objects(BUCKET, "out/", recursive=True)]
        return {name.removeprefix("out/"): client.get_object(BUCKET, name).data for name in names}

    source, out = f"s3://{BUCKET}/in/", f"s3://{BUCKET}/out/"
    kill(bundle, source, out, 7)
    assert predict(bundle, source, out)["skipped_fragments"] == 2
    predict(bundle, folder, tmp_path / "undisturbed")
    expected = {name: data for name, data in files(tmp_path / "undisturbed").items() if "_manifest" not in name}
    assert {name: data for name, data in stored().items() if "_manifest" not in name} == expected
    assert predict(bundle, source, out)["skipped_fragments"] == FRAGMENTS
    # An output and an input that are others now.
    client.fput_object(BUCKET, "out/part-4.parquet", str(folder / "part-4.parquet"))
    client.fput_object(BUCKET, "in/part-5.parquet", str(folder / "part-6.parquet"))
    assert predict(bundle, source, out)["skipped_fragments"] == FRAGMENTS - 2
    assert stored()["part-4.parquet"] == expected["part-4.parquet"]
    assert stored()["part-5.parquet"] == expected["part-6.parquet"]


def test_what_cannot_be_predicted_is_said_in_a_line(bundle: Bundle, table: pa.Table, tmp_path: Path) -> None:
    folder, out = cut(table, tmp_path / "in"), tmp_path / "out"

    def says(*words: object) -> str:
        done = healthrisk("predict", *words, "--bundle", bundle.path, "--quiet")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        return done.stderr

    assert "expected a folder" in says(folder, "--out", tmp_path / "out.csv")
    assert "another folder than that of the table" in says(folder, "--out", f"{folder}/")
    assert "--rejects is for a file" in says(folder, "--out", out, "--rejects", tmp_path / "rejects.csv")
    assert f"{folder / 'part-0.parquet'}: row 101: age is '420.0'" in says(folder, "--out", out, "--strict")
    (folder / "part-5.parquet").write_bytes(b"no table")
    assert "part-5.parquet cannot be read" in says(folder, "--out", out)
    pq.write_table(table.drop_columns(["patient"]), folder / "part-5.parquet")
    assert "part-5.parquet has other columns than the first fragment: 'patient'" in says(folder, "--out", out)
    (folder / "part-0.parquet").unlink()
    assert "holds predictions of part-0.parquet, which is not in" in says(folder, "--out", out)
    assert not (out / "_manifest.json").exists()
    assert not list(out.glob(".writing-*"))
