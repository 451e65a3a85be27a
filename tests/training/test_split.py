"""Both sides of a split are the same however the table lies; of a large one a hash says where each row stands."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from healthrisk import datasets
from healthrisk import spec as specs
from healthrisk.bundle import Bundle
from healthrisk.data.hospital import write_table
from healthrisk.data.ingest import ingest
from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec
from healthrisk.training import first_seen, sides
from healthrisk.training.grouping import is_grouped
from healthrisk.training.split import read_common, read_split, write_split
from tests.support import sample_bundle

HEART = specs.load("heart-disease")
SHIPPED = Path(datasets.__path__[0]) / "heart-disease.csv"


def cut(table: Path, folder: Path, count: int) -> Path:
    """Write a CSV in so many fragments."""
    header, *lines = table.read_text().splitlines(keepends=True)
    folder.mkdir()
    ends = np.linspace(0, len(lines), count + 1).astype(int)
    for place, (begin, end) in enumerate(itertools.pairwise(ends)):
        (folder / f"{place:02}.csv").write_text("".join([header, *lines[begin:end]]))
    return folder


def split(spec: DatasetSpec, source: Path, folder: Path) -> tuple[Path, Path, str]:
    """Return training part and hold-out, and the preprocessor as JSON."""
    folder.mkdir()
    ingest(spec, str(source), folder / "table")
    write_split(spec, folder / "table", 0, folder / "train", folder / "test", folder / "preprocessor")
    return folder / "train", folder / "test", (folder / "preprocessor" / "preprocessor.json").read_text()


def bundle_of(spec: DatasetSpec, train: Path, folder: Path) -> str:
    return Bundle.open(sample_bundle.fit(spec, "logistic_regression", folder, *read_split(spec, train), 7)).digest


def visits(folder: Path, rows: int) -> tuple[DatasetSpec, Path]:
    write_table(folder / "visits.csv", rows, 0)
    return specs.load("hospital").model_copy(update={"time": "", "ignore": ("visit",)}), folder / "visits.csv"


@pytest.mark.parametrize("drawn_rows", [1_000_000, 100])
@pytest.mark.parametrize("patients", [False, True])
def test_fragments_are_split_as_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn_rows: int, patients: bool
) -> None:
    monkeypatch.setattr(sides, "DRAWN_ROWS", drawn_rows)
    spec, source = visits(tmp_path, 3000) if patients else (HEART, SHIPPED)
    whole = split(spec, source, tmp_path / "whole")
    parts = split(spec, cut(source, tmp_path / "fragments", 7), tmp_path / "parts")
    assert whole[2] == parts[2]
    digests = {bundle_of(spec, train, tmp_path / name) for name, (train, *_) in (("one", whole), ("many", parts))}
    assert len(digests) == 1
    for one, other in zip(whole[:2], parts[:2], strict=True):
        for mine, theirs in zip(read_split(spec, one), read_split(spec, other), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert other.is_dir()
    for mine, theirs in zip(read_common(*whole[:2]), read_common(*parts[:2]), strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or mine.tolist() == theirs.tolist()


def test_a_hash_keeps_a_patient_on_one_side_and_the_classes_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "DRAWN_ROWS", 1000)
    monkeypatch.setattr(sides, "FIT_ROWS", 2000)
    spec, source = visits(tmp_path, 20_000)
    train, test, _ = split(spec, source, tmp_path / "split")
    (_, y), (_, held_out) = read_split(spec, train), read_split(spec, test)
    # A standard error of the share of patients is .0045, of the rare class's rows .02.
    assert len(held_out) / 20_000 == pytest.approx(0.2, abs=0.02)
    assert np.bincount(held_out) / np.bincount(np.concatenate([y, held_out])) == pytest.approx([0.2] * 3, abs=0.08)
    groups, _ = read_common(train, test)
    assert groups is not None
    assert not set(groups[: len(y)].tolist()) & set(groups[len(y) :].tolist())
    again, _, _ = split(spec, source, tmp_path / "again")
    assert again.read_bytes() == train.read_bytes()


def halves(spec: DatasetSpec, source: Path, folder: Path) -> list[tuple[bytes, bytes, list[str]]]:
    """Return of training part and hold-out every value, class and site, row for row."""
    train, test, _ = split(spec, source, folder)
    read = ((*read_split(spec, side), read_common(side)[1]) for side in (train, test))
    return [(matrix.tobytes(), y.tobytes(), list(sites)) for matrix, y, sites in read]


ALONE = {"group": "", "ignore": ("patient",)}


@pytest.mark.parametrize("dates", [True, False], ids=["dates", "numbers"])
@pytest.mark.parametrize("grouped", ["by patient", "by value", "not at all"])
def test_the_latest_fifth_of_a_large_table_is_that_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: str, dates: bool
) -> None:
    spec, (_, source) = specs.load("hospital"), visits(tmp_path, 3000)
    warned, ignored = (
        spec.validation.model_copy(
            update={"duplicates": spec.validation.duplicates.model_copy(update={"action": action})}
        )
        for action in ("warn", "ignore")
    )
    more = {
        "by patient": {},
        "by value": {**ALONE, "validation": warned},
        "not at all": {**ALONE, "validation": ignored},
    }
    spec = spec.model_copy(update=more[grouped])
    assert is_grouped(spec) == (grouped != "not at all")
    frame = pd.read_csv(source, dtype=str)
    if not dates:
        days = pd.to_datetime(frame["visit"]) - pd.Timestamp("2025-01-01")
        frame["visit"] = (days / pd.Timedelta(days=1)).astype(str)
    # Some visits are there twice, in other fragments.
    pd.concat([frame, frame.head(40)]).to_csv(source, index=False)
    expected = halves(spec, source, tmp_path / "drawn")
    monkeypatch.setattr(sides, "DRAWN_ROWS", 100)
    monkeypatch.setattr(first_seen, "_SPAN_ROWS", 700)
    assert halves(spec, source, tmp_path / "whole") == expected
    fragments = cut(source, tmp_path / "fragments", 7)
    (fragments / "02-empty.csv").write_text(source.read_text().splitlines(keepends=True)[0])
    assert halves(spec, fragments, tmp_path / "parts") == expected
    assert not list(tmp_path.glob("*/.writing-*"))


def test_a_year_among_dates_is_one_and_what_is_no_time_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, (_, source) = specs.load("hospital"), visits(tmp_path, 3000)
    frame = pd.read_csv(source, dtype=str)
    frame.loc[:999, "visit"] = "2024"
    frame.to_csv(source, index=False)
    expected = halves(spec, source, tmp_path / "drawn")
    monkeypatch.setattr(sides, "DRAWN_ROWS", 100)
    assert halves(spec, cut(source, tmp_path / "fragments", 3), tmp_path / "parts") == expected
    frame.loc[2345, "visit"] = "01.02.2024"
    frame.to_csv(source, index=False)
    with pytest.raises(TrainingError, match=r"row 2346: visit is '01\.02\.2024', expected a date as 2026-11-21"):
        split(spec, cut(source, tmp_path / "wrong", 3), tmp_path / "none")


@pytest.mark.parametrize("rows", [1, 2, 5, 10, 11, 999, 1000])
def test_a_quantile_by_digits_is_that_of_numpy(tmp_path: Path, rows: int) -> None:
    spec = specs.load("hospital").model_copy(update={"group": "patient"})
    seen, rng = first_seen.FirstSeen(spec, tmp_path, numbers=True), np.random.default_rng(rows)
    values = np.sort(rng.integers(0, 2**64, (2, rows), dtype=np.uint64), axis=1)
    counts = rng.integers(1, 4, (2, rows))
    for part in (0, 1):
        values[part].tofile(seen.path(part, "seen"))
        np.save(seen.path(part, "rows.npy"), counts[part])
    every = np.repeat(values.ravel(), counts.ravel())
    parts = {0: tmp_path, 1: tmp_path}
    for share in (0.0, 0.2, 0.8, 1.0):
        found = first_seen.quantile(seen, parts, len(every), share)
        assert int(found) == np.quantile(every.astype(object), share, method="inverted_cdf")


def test_equal_rows_stay_together_and_others_have_no_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "DRAWN_ROWS", 100)
    frame = pd.read_csv(SHIPPED, dtype=str)
    assert read_common(*split(HEART, SHIPPED, tmp_path / "once")[:2])[0] is None
    pd.concat([frame, frame.iloc[::-1]]).to_csv(tmp_path / "twice.csv", index=False)
    train, test, _ = split(HEART, tmp_path / "twice.csv", tmp_path / "twice")
    training, held_out = ({row.tobytes() for row in read_split(HEART, side)[0]} for side in (train, test))
    assert (len(training) + len(held_out), training & held_out) == (303, set())


def test_a_class_that_one_side_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "DRAWN_ROWS", 100)
    frame = pd.read_csv(SHIPPED, dtype=str)
    frame["num"] = "0"
    frame.loc[5, "num"] = "1"
    frame.to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(TrainingError, match="has no row of class 'disease', of 1 rows"):
        split(HEART, tmp_path / "one.csv", tmp_path / "split")
