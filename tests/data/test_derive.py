"""Tables as hospitals write them: headers in any spelling, booleans in words, ages out of dates."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from healthrisk.data import derive, tables
from healthrisk.data.draft import draft
from healthrisk.data.ingest import ingest
from healthrisk.data.partition import Partitioner
from healthrisk.errors import SourceError
from healthrisk.spec import DatasetSpec
from healthrisk.spec.columns import Between

SPEC = DatasetSpec.parse(
    """
name: ward
title: Ward
description: Invented.
csv: {delimiter: ";", encoding: latin-1}
missing_tokens: ["", "?"]
columns:
  - {name: Größe (cm), label: Height, kind: number, range: [50, 250]}
  - {name: "Raucher?", label: Smoker, kind: boolean, missing: {allowed: true}}
  - {name: age, label: Age, kind: integer, range: [0, 120],
     between: {first: Geburt, last: Besuch, unit: years, format: "%d.%m.%Y"}}
  - {name: waited, label: Waited, kind: number, range: [0, 400], missing: {allowed: true},
     between: {first: Anmeldung, last: Besuch, unit: days, format: "%d.%m.%Y"}}
target:
  name: Tod
  label: Died
  classes: [{name: "no", value: 0, raw: [0]}, {name: "yes", value: 1, raw: [1]}]
time: Besuch
risk_levels: [{name: Low, below: 0.5}, {name: High}]
"""
)
HEADER = "Größe (cm);Raucher?;Geburt;Anmeldung;Besuch;Tod"
ROWS = (
    "171.5;ja;29.02.1960;01.03.2024;28.02.2024;0",
    "180;True;29.02.1960;?;29.02.2024;1",
    "165;n;31.12.2000;01.01.2024;30.12.2024;0",
    "150;;01.01.1990;01.01.2024;01.01.2024;1",
)


def write(folder: Path, *rows: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", "latin-1")
    return path


def test_ages_and_words_are_read(tmp_path: Path) -> None:
    rows = [row.replace("ja", "YES").replace("01.03.2024", "01.02.2024") for row in ROWS]
    ingest(SPEC, str(write(tmp_path, *rows)), tmp_path / "t")
    read = pd.read_parquet(tmp_path / "t")
    assert list(read) == ["Groesse_cm", "Raucher", "age", "waited", "Tod", "Besuch"]
    assert read.age.tolist() == [63, 64, 23, 34]
    assert read.waited.tolist()[:1] == [27]
    assert read.waited.isna().tolist() == [False, True, False, False]
    assert read.Raucher.fillna(-1).tolist() == [1, 1, 0, -1]


def test_what_cannot_be_read_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"row 1: Raucher is 'ja', expected one of 0 \(no\), 1 \(yes\), or missing"):
        ingest(SPEC, str(write(tmp_path, *ROWS)), tmp_path / "t")
    wrong = ROWS[1].replace("29.02.1960", "1960-02-29")
    with pytest.raises(SourceError, match=r"row 1: age is '1960-02-29' and '29\.02\.2024', expected two dates as %d"):
        ingest(SPEC, str(write(tmp_path, wrong)), tmp_path / "t")
    lacking = write(tmp_path)
    lacking.write_text(HEADER.replace("Geburt", "Gebrut") + "\n" + ROWS[1] + "\n", "latin-1")
    with pytest.raises(SourceError, match="lacks column 'Geburt'"):
        ingest(SPEC, str(lacking), tmp_path / "t")


def test_batch_prediction_reads_them_alike(tmp_path: Path) -> None:
    """The first row was registered after its visit, and `ja` is no word that is known."""
    ((batch, _),) = tables.read(write(tmp_path, *ROWS), 100, SPEC.csv)
    partitioned = Partitioner(SPEC).partition(batch, 1)
    assert partitioned.good.tolist() == [False, True, True, True]
    assert partitioned.rejects.column("feature").to_pylist() == ["Raucher", "waited"]
    assert np.array_equal(partitioned.matrix[:2, 2], [64, 23])
    ingest(SPEC, str(write(tmp_path, *ROWS[1:])), tmp_path / "t")
    ((same, _),) = tables.read((tmp_path / "t").rename(tmp_path / "t.parquet"), 100)
    assert np.array_equal(Partitioner(SPEC).partition(same, 1).matrix, partitioned.matrix, equal_nan=True)


def test_a_header_in_other_code_points_is_the_same(tmp_path: Path) -> None:
    table = pd.read_csv(write(tmp_path, *ROWS[1:]), sep=";", encoding="latin-1", dtype=str)
    apart = table.rename(columns=lambda name: unicodedata.normalize("NFD", name))
    assert list(apart) != list(table)
    typed = apart.assign(**{"Tod": apart.Tod.astype(float), apart.columns[0]: apart.iloc[:, 0].astype(float)})
    typed.to_parquet(tmp_path / "t.parquet")
    ingest(SPEC, str(tmp_path / "t.parquet"), tmp_path / "t")
    assert pd.read_parquet(tmp_path / "t").Groesse_cm.tolist() == [180, 165, 150]


def test_dates_and_booleans_of_parquet_need_no_words(tmp_path: Path) -> None:
    days = pa.array(pd.to_datetime(["2024-05-06", "2024-05-05"]), pa.timestamp("us"))
    columns = {
        "Größe (cm)": pa.array([170.0, 180.0]),
        "Raucher?": pa.array([True, None]),
        "Geburt": pa.array(pd.to_datetime(["2000-05-06", "2000-05-06"])).cast(pa.date32()),
        "Anmeldung": days,
        "Besuch": days,
        "Tod": pa.array([0, 1]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    ingest(SPEC, str(tmp_path / "t.parquet"), tmp_path / "t")
    read = pd.read_parquet(tmp_path / "t")
    assert read.age.tolist() == [24, 23]
    assert read.waited.tolist() == [0, 0]
    assert read.Raucher.fillna(-1).tolist() == [1, -1]


def test_a_table_may_have_the_column_itself() -> None:
    assert derive.needed(SPEC, ["age"]) == ["Groesse_cm", "Raucher", "age", "Anmeldung", "Besuch"]


def test_years_are_completed_ones() -> None:
    rule = Between(first="a", last="b", unit="years")
    first = pa.array(["2000-02-29", "2000-03-01", "2000-03-01", None, "x"])
    last = pa.array(["2001-02-28", "2001-02-28", "2001-03-01", "2001-01-01", "2001-01-01"])
    assert derive.time_between(rule, first, last).to_pylist() == [0, 0, 1, None, np.inf]


def test_a_draft_of_such_a_table_is_a_spec_that_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "Größe (cm)": rng.normal(170, 9, 300).round(1),
            "Raucher?": rng.choice(["True", "False"], 300),
            "2. Wert": rng.normal(size=300).round(3),
            "Tod nach 30 T.": rng.integers(0, 2, 300),
        }
    )
    table.to_csv(tmp_path / "ward.csv", index=False, sep=";", encoding="latin-1")
    spec = DatasetSpec.parse(draft(tmp_path / "ward.csv", "Tod nach 30 T.", "ward"))
    assert spec.features == ("Groesse_cm", "Raucher", "c_2._Wert")
    assert spec.by_name["Raucher"].boolean
    assert ingest(spec, str(tmp_path / "ward.csv"), tmp_path / "t").rows == 300
