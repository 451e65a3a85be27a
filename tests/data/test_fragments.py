"""A table in fragments, in a folder or in a bucket, gives what the same rows in one file give."""

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from healthrisk import datasets
from healthrisk import spec as specs
from healthrisk.config import settings
from healthrisk.data import repeated_rows, tables
from healthrisk.data.ingest import ingest
from healthrisk.data.validate import ValidationReport, validate
from healthrisk.errors import SourceError
from healthrisk.object_store import s3_client
from healthrisk.spec import Source
from tests.support.s3 import BUCKET

HEART = specs.load("heart-disease")
FRAME = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", na_values="?")


def cut(frame: pd.DataFrame, folder: Path, count: int, kind: str = "csv") -> Path:
    """Write a table in fragments of unlike sizes, the second without rows."""
    folder.mkdir(parents=True)
    ends = sorted({0, *(len(frame) * np.arange(1, count) ** 2 // (count - 1) ** 2).tolist()})
    bounds = [ends[0], *ends]
    for place, (begin, end) in enumerate(itertools.pairwise(bounds)):
        piece, path = frame.iloc[begin:end], folder / f"part-{place}.{kind}"
        piece.to_csv(path, index=False) if kind == "csv" else piece.to_parquet(path)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.crc").write_bytes(b"crc")
    (folder / "_delta_log").mkdir()
    return folder


def report(source: Path, to: Path) -> ValidationReport:
    ingest(HEART, str(source), to)
    return validate(HEART, to)


def spoiled() -> pd.DataFrame:
    """Values that are missing or out of range in several columns and places, and rows that repeat."""
    frame = pd.concat([FRAME, FRAME.iloc[:9]], ignore_index=True).astype(
        {"age": float, "chol": float, "oldpeak": float}
    )
    frame.loc[[250, 290], "age"] = 420
    frame.loc[3, "age"] = np.nan
    frame.loc[[100, 301], "chol"] = 1e6
    frame.loc[5, "oldpeak"] = np.inf
    return frame


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("frame", [FRAME, spoiled()], ids=["sound", "spoiled"])
def test_fragments_are_validated_as_one_file_to_the_last_digit(frame: pd.DataFrame, kind: str, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "whole.csv", index=False)
    folder = cut(frame, tmp_path / "folder", 7, kind)
    assert report(folder, tmp_path / "parts") == report(tmp_path / "whole.csv", tmp_path / "table")
    assert len(tables.parts(tmp_path / "parts")) == 7
    assert tables.read_columns(tmp_path / "parts").equals(pq.read_table(tmp_path / "table"))


def test_the_record_holds_the_digest_that_sha256sum_prints(tmp_path: Path) -> None:
    folder = cut(FRAME, tmp_path / "folder", 3)
    record = ingest(HEART, str(folder), tmp_path / "table")
    assert (record.source, record.uri, record.rows) == ("folder", str(folder), 303)
    assert {name: count for name, count in record.missing.items() if count} == {"ca": 4, "thal": 2}
    printed = subprocess.run("sha256sum *.csv | sha256sum", shell=True, cwd=folder, capture_output=True, check=True)
    assert record.sha256 == printed.stdout.decode().split()[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "table"]


def test_a_source_of_a_spec_may_be_fragments_of_one_digest(tmp_path: Path) -> None:
    folder = cut(FRAME, tmp_path / "folder", 3)
    digest = ingest(HEART, str(folder), tmp_path / "table").sha256
    known = Source(name="parts", uri=str(folder), sha256=digest)
    spec = HEART.model_copy(update={"sources": (known,)})
    assert ingest(spec, "", tmp_path / "table").source == "parts"
    assert ingest(spec, str(folder), tmp_path / "table").source == "parts"
    other = HEART.model_copy(update={"sources": (known.model_copy(update={"sha256": "0" * 64}),)})
    with pytest.raises(SourceError, match=f"its fragments is {digest}, the spec expects 0000"):
        ingest(other, "", tmp_path / "table")


def test_fragments_may_lie_in_a_bucket(endpoint: str, tmp_path: Path) -> None:
    folder = cut(FRAME, tmp_path / "folder", 4, "parquet")
    client = s3_client(settings())
    for path in folder.glob("*.parquet"):
        client.fput_object(bucket_name=BUCKET, object_name=f"heart/{path.name}", file_path=str(path))
    client.fput_object(bucket_name=BUCKET, object_name="heart/_temporary/0", file_path=str(folder / "_SUCCESS"))
    record = ingest(HEART, f"s3://{BUCKET}/heart/", tmp_path / "table")
    assert record.sha256 == ingest(HEART, str(folder), tmp_path / "other").sha256
    assert tables.read_columns(tmp_path / "table").equals(tables.read_columns(tmp_path / "other"))
    with pytest.raises(SourceError, match=r"s3://bundles/none/ holds no \.csv or \.parquet file"):
        ingest(HEART, f"s3://{BUCKET}/none/", tmp_path / "table")
    with pytest.raises(SourceError, match="s3://nowhere/none/ cannot be read"):
        ingest(HEART, "s3://nowhere/none/", tmp_path / "table")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "part-2.csv").write_text("age,sex\n40,1\n"), "part-2.csv lacks column 'cp'"),
        (
            lambda folder: FRAME.replace({"num": {1: 9.5}}).to_csv(folder / "part-1.csv", index=False),
            "part-1.csv: row 2: num is 9.5",
        ),
        (lambda folder: (folder / "part-0.csv").write_text(""), "part-0.csv is empty"),
        (lambda folder: FRAME.to_parquet(folder / "part-9.parquet"), "holds both part-0.csv and part-9.parquet"),
        (lambda folder: (folder / "part-3.csv.gz").touch(), "part-3.csv.gz is no fragment of a table"),
        (lambda folder: (folder / "year=2026").mkdir(), "year=2026 is no fragment"),
        (lambda folder: [path.unlink() for path in folder.glob("part-*")], "holds no .csv or .parquet file"),
    ],
    ids=["columns", "value", "empty", "both formats", "compressed", "folder", "nothing"],
)
def test_a_bad_fragment_is_named(spoil: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    folder = cut(FRAME, tmp_path / "folder", 3)
    spoil(folder)
    with pytest.raises(SourceError, match=says):
        ingest(HEART, str(folder), tmp_path / "table")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_repeated_rows_of_a_large_table_are_estimated_alike_in_any_order(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_rows, "KEPT", 1000)
    rng = np.random.default_rng(0)
    different = np.unique(rng.integers(0, 2**64, 3000, dtype=np.uint64))
    again = rng.choice(different, int(share * len(different)), replace=False)
    hashes = rng.permutation(np.concatenate([different, again]))
    counted = set()
    for pieces in (1, 7):
        counts = [repeated_rows.RepeatedRows() for _ in range(pieces)]
        for one, piece in zip(counts, np.array_split(hashes, pieces), strict=True):
            for batch in np.array_split(piece, 11):
                one.add(batch)
        for other in counts[1:]:
            counts[0].merge(other)
        counted.add((counts[0].count(), counts[0].halvings))
    ((count, halvings),) = counted
    assert halvings == 2
    # A table that repeats nothing is found to. Otherwise five standard errors of a sample of one in four.
    assert abs(count - len(again)) <= 5 * np.sqrt(3 * len(again))
