"""The invented hospital table: reproducible, with the outcomes, the repeats and the drift that it promises."""

from pathlib import Path

import pandas as pd
import pytest

from healthrisk.data import hospital

ROWS = 40_000


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("hospital") / "visits.parquet"
    hospital.write_table(path, ROWS, 0)
    return pd.read_parquet(path)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.csv", "other.csv"):
        hospital.write_table(tmp_path / name, 1000, 3)
    hospital.write_table(tmp_path / "another.csv", 1000, 4)
    one = (tmp_path / "one.csv").read_bytes()
    assert one == (tmp_path / "other.csv").read_bytes()
    assert one != (tmp_path / "another.csv").read_bytes()


def test_three_outcomes_of_which_the_severe_one_is_rare(visits: pd.DataFrame) -> None:
    shares = visits["outcome"].value_counts(normalize=True)
    assert set(shares.index) == set(hospital.OUTCOMES)
    assert 0.01 < shares["severe"] < 0.03


def test_patients_come_again_over_two_years_at_three_sites(visits: pd.DataFrame) -> None:
    assert len(visits) / visits["patient"].nunique() > 2
    assert set(visits["site"]) == set(hospital.SITES)
    assert (visits.groupby("patient")["site"].nunique() == 1).all()
    days = pd.to_datetime(visits["visit"])
    assert days.is_monotonic_increasing
    assert (days.max() - days.min()).days == hospital.DAYS - 1


def test_what_changes_in_the_last_half_year(visits: pd.DataFrame) -> None:
    late = pd.to_datetime(visits["visit"]) >= pd.Timestamp(hospital.BEGIN + hospital.DRIFT_DAY)
    lactate = visits.groupby([late, "site"])["lactate"].mean()
    assert lactate[True, "south"] > 1.25 * lactate[False, "south"]
    assert lactate[True, "north"] < 1.05 * lactate[False, "north"]
    missing = visits["creatinine"].isna().groupby(late).mean()
    assert missing[True] > 3 * missing[False]
    severe = (visits["outcome"] == "severe").groupby(late).mean()
    assert severe[True] > 1.5 * severe[False]
