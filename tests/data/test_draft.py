"""A first spec of a table is valid, guesses what can be seen, and says what cannot."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from healthrisk import datasets
from healthrisk.data import hospital
from healthrisk.data.draft import draft
from healthrisk.errors import SpecError
from healthrisk.spec import DatasetSpec

HEART = Path(datasets.__path__[0]) / "heart-disease.csv"


def patients(rows: int = 500) -> pd.DataFrame:
    """Invent a table with what hospitals' tables have: an identifier, dates, sentinels, words and a constant."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "id": np.arange(rows) + 70_000,
            "admitted": pd.date_range("2024-01-01", periods=rows).strftime("%d.%m.%Y"),
            "clinic": "north",
            "age": rng.integers(18, 95, rows),
            "crp": np.where(rng.random(rows) < 0.05, -9.0, rng.gamma(2, 20, rows).round(1)),
            "smoker": rng.choice(["yes", "no", "N/A"], rows, p=[0.3, 0.6, 0.1]),
            "stage": rng.integers(1, 5, rows),
            "died": rng.choice(["yes", "no"], rows, p=[0.1, 0.9]),
        }
    )


def written(frame: pd.DataFrame, path: Path, **how: str) -> Path:
    frame.to_csv(path, index=False, **how)  # type: ignore[call-overload]
    return path


def test_every_guess_has_its_place(tmp_path: Path) -> None:
    text = draft(written(patients(), tmp_path / "patients.csv"), "died", "patients")
    spec = DatasetSpec.parse(text)
    assert spec.ignore == ("id", "admitted", "clinic")
    assert {column.name: column.kind for column in spec.columns} == {
        "age": "integer", "crp": "number", "smoker": "code", "stage": "code"
    }  # fmt: skip
    assert spec.by_name["crp"].missing.values == (-9,)
    assert spec.by_name["crp"].range is not None
    assert spec.by_name["crp"].range[0] == 0
    assert spec.by_name["smoker"].missing.allowed
    assert "N/A" in spec.missing_tokens
    low, high = spec.by_name["age"].range or (0, 0)
    assert 0 <= low < 18
    assert 95 < high < 130
    assert [cls.value for cls in spec.target.classes] == ["no", "yes"]
    for reason in (
        "an identifier",
        "dates",
        "the same value everywhere",
        "taken for missing",
        "say what each one means",
    ):
        assert reason in text


@pytest.mark.parametrize(("other", "event"), [("no", "yes"), ("nein", "ja"), ("Non", "Oui"), ("no", "sí")])
def test_the_event_is_the_word_that_names_it_even_where_it_is_commoner(tmp_path: Path, other: str, event: str) -> None:
    frame = patients()
    frame["died"] = np.where(frame["died"] == "no", event, other)
    spec = DatasetSpec.parse(draft(written(frame, tmp_path / "t.csv"), "died", "patients"))
    assert [cls.value for cls in spec.target.classes] == [other, event]


def test_semicolons_and_latin_1_are_declared(tmp_path: Path) -> None:
    frame = patients().rename(columns={"smoker": "raucht"})
    frame["raucht"] = frame["raucht"].replace({"yes": "täglich"})
    path = written(frame, tmp_path / "t.csv", sep=";", encoding="latin-1")
    spec = DatasetSpec.parse(draft(path, "died", "patients"))
    assert (spec.csv.delimiter, spec.csv.encoding) == (";", "latin-1")
    assert "täglich" in spec.by_name["raucht"].meanings


def test_three_outcomes_of_a_large_table(tmp_path: Path) -> None:
    hospital.write_table(tmp_path / "visits.parquet", 5000, 0)
    spec = DatasetSpec.parse(draft(tmp_path / "visits.parquet", "outcome", "hospital"))
    assert {cls.value for cls in spec.target.classes} == set(hospital.OUTCOMES)
    assert spec.risk_levels[-1].any_of == ("moderate", "severe")
    assert spec.ignore == ("visit",)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("death", "has no column 'death'; it has id, admitted"),
        ("crp", "neither regression nor survival"),
        ("clinic", "has one value"),
        ("smoker", "is missing in"),
    ],
)
def test_an_outcome_that_is_none_is_said_in_words(tmp_path: Path, target: str, message: str) -> None:
    path = written(patients(), tmp_path / "t.csv")
    with pytest.raises(SpecError, match=message):
        draft(path, target, "patients")


@pytest.mark.slow
def test_the_command_writes_a_spec_and_overwrites_none(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "healthrisk",
        "spec",
        str(HEART),
        "--target",
        "num",
        "--out",
        str(tmp_path / "s.yaml"),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    spec = DatasetSpec.parse((tmp_path / "s.yaml").read_text())
    assert spec.name == "heart-disease"
    assert str(tmp_path / "s.yaml") in done.stdout
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "is there already" in again.stderr
