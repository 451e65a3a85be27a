"""Every rule of a spec finds what it is for, and lets sound tables pass."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from healthrisk import datasets
from healthrisk import spec as specs
from healthrisk.data.ingest import ingest
from healthrisk.data.profile import ColumnSummary
from healthrisk.data.validate import ValidationReport, validate
from healthrisk.errors import ValidationError
from healthrisk.reports.distributions import Numbers, distribution
from healthrisk.reports.table_report import render
from healthrisk.spec import DatasetSpec

HEART = specs.load("heart-disease")
FRAME = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", na_values="?")


def results(frame: pd.DataFrame, tmp_path: Path, spec: DatasetSpec = HEART) -> ValidationReport:
    frame.to_csv(tmp_path / "given.csv", index=False)
    ingest(spec, str(tmp_path / "given.csv"), tmp_path / "table")
    return validate(spec, tmp_path / "table")


def messages(report: ValidationReport, status: str) -> list[str]:
    return [check.message for check in report.checks if check.status == status]


def test_the_shipped_table_passes_every_check(tmp_path: Path) -> None:
    report = results(FRAME, tmp_path)
    assert {check.status for check in report.checks} == {"pass"}
    report.raise_if_failed()
    assert [(one.name, one.rows) for one in report.classes] == [("no disease", 164), ("disease", 139)]
    age = report.columns["age"]
    assert (age.statistics.min, age.statistics.max, sum(age.counts)) == (29, 77, 303)
    assert age.statistics.mean == pytest.approx(FRAME["age"].mean())
    thal = report.columns["thal"]
    assert (thal.codes, thal.counts, thal.missing) == ((3, 6, 7), (166, 18, 117), 2)


def changed(column: str, value: float, rows: slice = slice(3, 3)) -> pd.DataFrame:
    frame = FRAME.copy().astype({column: float})
    frame.loc[rows, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (changed("age", 420), "age is 420.0 in row 4, expected a whole number from 18 to 110 years"),
        (changed("age", 42.5), "age is 42.5 in row 4, expected a whole number"),
        (changed("age", np.nan), "age is missing in row 4, expected a whole number from 18"),
        (changed("cp", 5, slice(3, 8)), "cp is 5.0 in row 4, and 5 rows more, expected one of 1 (typical angina)"),
        (changed("oldpeak", np.inf), "oldpeak is inf in row 4"),
        (changed("num", 7), "num is 7 in row 4, expected one of 0, 1, 2, 3, 4"),
        (changed("thal", np.nan, slice(0, 302)), "thal is missing in every row"),
        (changed("thal", np.nan, slice(0, 200)), "thal is missing in 202 of 303 rows"),
        (changed("num", 1, slice(0, 302)), "no row has the outcome 'no disease'"),
        (FRAME.head(2), "2 rows; at least 100 are expected"),
    ],
)
def test_what_breaks_a_rule_fails_and_is_named(frame: pd.DataFrame, says: str, tmp_path: Path) -> None:
    report = results(frame, tmp_path)
    assert any(says in message for message in messages(report, "fail")), messages(report, "fail")
    with pytest.raises(ValidationError):
        report.raise_if_failed()


def test_what_the_spec_only_warns_of_is_a_warning(tmp_path: Path) -> None:
    repeated = pd.concat([FRAME, FRAME.head(20)])
    assert messages(results(repeated, tmp_path), "warn") == [
        "20 of 323 rows repeat another one (6.2%; at most 1.0% is expected)"
    ]
    constant = changed("fbs", 0, slice(0, 302))
    assert messages(results(constant, tmp_path), "warn") == ["fbs has the same value in every row"]
    rare = pd.concat([FRAME[FRAME["num"] == 0], FRAME[FRAME["num"] == 1].head(20)])
    assert "'disease', the rarest class, has 20 of 184 rows" in messages(results(rare, tmp_path), "warn")[0]


@pytest.mark.parametrize(("action", "status"), [("fail", "fail"), ("warn", "warn"), ("ignore", "pass")])
def test_the_spec_decides_what_fails(action: str, status: str, tmp_path: Path) -> None:
    document = HEART.model_dump(mode="json")
    document["validation"]["duplicates"] = {"action": action, "limit": 0.01}
    report = results(pd.concat([FRAME, FRAME.head(20)]), tmp_path, DatasetSpec.model_validate(document))
    assert [check.status for check in report.checks if check.name == "duplicates"] == [status]


def kaggle() -> pd.DataFrame:
    """The popular encoding: codes from 0, and 0 for the diseased."""
    frame = FRAME.copy()
    frame["cp"] -= 1
    frame["slope"] -= 1
    frame["thal"] = frame["thal"].map({3: 2, 6: 1, 7: 3}).fillna(0)
    frame["ca"] = frame["ca"].fillna(0)
    frame["num"] = 1 - frame["num"]
    return frame.rename(columns={"num": "target"})


def test_kaggles_encoding_is_recognised_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"Kaggle heart.csv: this is Kaggle's encoding .* target is inverted"):
        results(kaggle(), tmp_path).raise_if_failed()


def test_inverted_labels_are_noticed_where_the_codes_are_right(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="'num' looks inverted"):
        results(FRAME.assign(num=1 - FRAME["num"]), tmp_path).raise_if_failed()


def test_the_severity_of_seven_classes_may_be_inverted_too(uci: Path, tmp_path: Path) -> None:
    obesity = specs.load("obesity")
    frame = pd.read_csv(uci / "ObesityDataSet_raw_and_data_sinthetic.csv")
    names = [cls.raw[0] for cls in obesity.target.classes]
    assert messages(results(frame, tmp_path, obesity), "fail") == []
    frame["NObeyesdad"] = frame["NObeyesdad"].map(dict(zip(names, reversed(names), strict=True)))
    assert "'NObeyesdad' looks inverted" in messages(results(frame, tmp_path, obesity), "fail")[0]


@pytest.mark.parametrize("name", ["hungarian", "switzerland"])
def test_other_hospitals_are_not_taken_for_inverted(name: str, uci: Path, tmp_path: Path) -> None:
    ingest(HEART, str(uci / f"processed.{name}.data"), tmp_path / "table")
    checks = {check.name: check.status for check in validate(HEART, tmp_path / "table").checks}
    assert (checks["encoding"], checks["values"], checks["inverted outcome"]) == ("pass", "pass", "pass")


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.slow
def test_small_tables_raise_no_false_alarm_of_inversion(shuffled: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(40):
        rows = FRAME.sample(30, random_state=rng)
        if shuffled:
            rows = rows.assign(num=rng.permutation(rows["num"].to_numpy()))
        alarms += any("inverted" in message for message in messages(results(rows, tmp_path), "fail"))
    assert alarms == 0


def test_the_page_shows_every_check_and_column_and_needs_nothing_else(tmp_path: Path) -> None:
    report = results(pd.concat([FRAME, FRAME.head(20)]), tmp_path)
    page = render(HEART, report)
    assert page.count('src="data:image/png;base64,') == 2
    assert re.findall(r'<svg .*aria-label="(.*)">', page) == [f"Distribution of {each.label}" for each in HEART.columns]
    # What a reader counts on it: the men, and most patients in a bar of ages.
    assert f">{(report.columns['sex'].counts[1])}</text>" in page
    assert f"at most {max(report.columns['age'].counts)} in a bar" in page
    assert "the strongest with the outcome are" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "20 of 323 rows repeat another one" in page
    assert all(column.label in page for column in HEART.columns)
    assert ValidationReport.model_validate_json(report.to_json()) == report


def test_a_column_is_drawn_from_its_first_value_to_its_last_with_whole_ticks() -> None:
    column = HEART.by_name["age"]
    edges = tuple(float(edge) for edge in range(40, 61, 4))
    counts = (0, 3, 6, 1, 0)
    shown = distribution(column, ColumnSummary(label="Age", unit="", missing=0, counts=counts, edges=edges))
    assert isinstance(shown, Numbers)
    assert [(place, bar.rows, bar.share) for place, bar in shown.bars] == [
        (0, 3, 0.5), (pytest.approx(1 / 3), 6, 1), (pytest.approx(2 / 3), 1, pytest.approx(1 / 6)),
    ]  # fmt: skip
    assert shown.width == pytest.approx(1 / 3)
    assert all(0 <= place <= 1 for place, _ in shown.ticks)
    # Between 44 and 56.
    assert [float(text) for _, text in shown.ticks] == [pytest.approx(44 + 12 * place) for place, _ in shown.ticks]


def test_a_column_without_a_value_is_drawn_empty(tmp_path: Path) -> None:
    report = results(FRAME.assign(ca=None, thal=None), tmp_path)
    for name in ("ca", "thal"):
        shown = distribution(HEART.by_name[name], report.columns[name])
        assert {bar.share for _, bar in shown.bars} == {0}
    assert "at most 0 in a bar" in render(HEART, report)
