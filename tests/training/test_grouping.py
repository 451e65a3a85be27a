"""Patients and time: nobody stands on both sides of a split, training comes before testing, every site is left out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from healthrisk.data.ingest import ingest
from healthrisk.data.validate import validate
from healthrisk.errors import SourceError, SpecError, TrainingError
from healthrisk.evidence import external
from healthrisk.spec import DatasetSpec, Gate, Verdict
from healthrisk.training import cross_validation, search
from healthrisk.training.split import read_common, read_split, write_split


def make_spec(**more: object) -> DatasetSpec:
    columns = [{"name": name, "label": name, "kind": "number", "range": [-10, 10]} for name in ("a", "b", "c")]
    classes = [{"name": "no", "value": 0, "raw": [0]}, {"name": "yes", "value": 1, "raw": [1]}]
    target = {"name": "y", "label": "Y", "classes": classes}
    known = {"name": "t", "title": "T", "description": "D", "columns": columns, "target": target}
    levels = {"risk_levels": [{"name": "Low", "below": 0.5}, {"name": "High"}], "selection": {"repeats": 2}}
    return DatasetSpec.parse(json.dumps({**known, **levels, **more}))


def visits(seed: int, patients: int = 80) -> pd.DataFrame:
    """One to four visits of each patient, who are much alike and have one outcome."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    self = rng.normal(size=(patients, 3))
    ill = (rng.random(patients) < special.expit(2 * self[:, 0])).astype(int)
    values = self[who] + rng.normal(0, 0.05, (len(who), 3))
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, patients)[who] + rng.integers(0, 30), "D")
    table = pd.DataFrame(values.round(3), columns=["a", "b", "c"]).assign(y=ill[who])
    return table.assign(
        patient=[f"P{k}" for k in who], seen=days.strftime("%Y-%m-%d"), town=np.array(list("KLM"))[who % 3]
    )


def split(spec: DatasetSpec, table: pd.DataFrame, folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Ingest, validate and split; return the two parts."""
    table.to_csv(folder / "table.csv", index=False)
    ingest(spec, str(folder / "table.csv"), folder / "table")
    assert {check.status for check in validate(spec, folder / "table").checks if check.name == "values"} == {"pass"}
    write_split(spec, folder / "table", seed, folder / "train", folder / "test", folder / "preprocessor")
    return folder / "train", folder / "test"


@pytest.mark.parametrize("seed", range(20))
def test_a_patient_stands_in_one_part_and_in_one_fold(tmp_path: Path, seed: int) -> None:
    spec = make_spec(group="patient", ignore=["seen", "town"])
    parts = split(spec, visits(seed), tmp_path, seed)
    sizes = [len(read_split(spec, part)[1]) for part in parts]
    groups, _ = read_common(*parts)
    assert groups is not None
    assert not set(groups[: sizes[0]]) & set(groups[sizes[0] :])
    assert 0.1 < sizes[1] / sum(sizes) < 0.35
    y, own = read_split(spec, parts[0])[1], groups[: sizes[0]]
    folds = cross_validation.splits(spec, y, seed, groups=own)
    assert len(folds) == 10
    assert all(not set(own[fit_on]) & set(own[held_out]) for fit_on, held_out in folds)
    assert np.array_equal(np.sort(np.concatenate([held_out for _, held_out in folds[:5]])), np.arange(len(y)))


def test_rows_equal_to_the_last_value_stay_together_without_a_name(tmp_path: Path) -> None:
    """A table of 80 patients and 240 copies: whatever the split, none of the hold-out is in training."""
    once = visits(0).drop(columns=["patient", "seen", "town"]).head(80)
    spec, copied = make_spec(), pd.concat([once] * 4)
    for seed in range(5):
        parts = (read_split(spec, part)[0] for part in split(spec, copied, tmp_path, seed))
        train, test = (set(map(tuple, part.tolist())) for part in parts)
        assert not train & test
    assert read_common(*split(spec, once, tmp_path))[0] is None
    free = make_spec(validation={"duplicates": {"action": "ignore"}})
    assert read_common(*split(free, copied, tmp_path))[0] is None


def test_training_comes_before_testing(tmp_path: Path) -> None:
    table = visits(3).assign(c=lambda rows: (pd.to_datetime(rows.seen) - pd.Timestamp("2024-01-01")).dt.days / 100)
    train, test = split(make_spec(time="seen", ignore=["patient", "town"]), table, tmp_path)
    before, after = pd.read_parquet(train)["c"], pd.read_parquet(test)["c"]
    assert before.max() < after.min()
    assert 0.1 < len(after) / len(table) < 0.25
    # A patient's later visits go with the first.
    first = table.groupby("patient")["c"].transform("min")
    grouped = split(make_spec(time="seen", group="patient", ignore=["town"]), table.assign(c=first), tmp_path)
    before, after = (pd.read_parquet(part)["c"] for part in grouped)
    assert before.max() < after.min()


def test_a_self_tuning_model_keeps_patients_together(tmp_path: Path) -> None:
    spec = make_spec(group="patient", ignore=["seen", "town"], search={"logistic_regression": {"C": [0.1, 1.0]}})
    parts = split(spec, visits(1), tmp_path)
    matrix, y = read_split(spec, parts[0])
    groups = read_common(parts[0])[0]
    fitted = search.Search(spec, "logistic_regression", 0).fit(matrix, y, groups)
    assert fitted.best_params_["classifier__C"] in {0.1, 1.0}


def test_each_site_is_left_out_and_the_worst_is_judged(tmp_path: Path) -> None:
    """At town M the outcome is chance: no model of the others can rank its patients."""
    table = visits(5, 400)
    table.loc[table.town == "M", "y"] = np.random.default_rng(0).integers(0, 2, int((table.town == "M").sum()))
    spec = make_spec(site="town", group="patient", ignore=["seen"])
    parts = split(spec, table, tmp_path)
    rows = [np.concatenate(each) for each in zip(*(read_split(spec, part) for part in parts), strict=True)]
    _, sites = read_common(*parts)
    left_out = external.left_out(spec, "logistic_regression", {}, (rows[0], rows[1]), sites, 0)
    areas = {site.name: site.models[external.LEFT_OUT].roc_auc.mean for site in left_out}
    assert areas["M"] < 0.6
    assert min(areas["K"], areas["L"]) > 0.65
    assert sum(site.rows for site in left_out) == len(table)
    result = external.judge(spec, Gate.model_validate({"metric": "site_roc_auc", "min": 0.65}), left_out)
    assert (result.verdict, result.reason) == (Verdict.FAILED, "M")
    few = make_spec(site="town", group="patient", ignore=["seen"], evidence={"min_cases": 5000})
    assert external.judge(few, result.gate, left_out).verdict is Verdict.INCONCLUSIVE


def test_what_cannot_be_grouped_or_ordered_is_named(tmp_path: Path) -> None:
    table = visits(0)
    spec = make_spec(group="patient", ignore=["seen", "town"])
    with pytest.raises(SourceError, match="lacks column 'patient'"):
        split(spec, table.drop(columns="patient"), tmp_path)
    with pytest.raises(SourceError, match="row 3: patient is missing"):
        split(spec, table.assign(patient=table.patient.where(table.index != 2)), tmp_path)
    with pytest.raises(TrainingError, match=r"row 1: seen is '01\.02\.2024'"):
        split(make_spec(time="seen", ignore=["patient", "town"]), table.assign(seen="01.02.2024"), tmp_path)
    with pytest.raises(SpecError, match="column 'a' is listed twice"):
        make_spec(group="a")
    with pytest.raises(SpecError, match="names no column `site`"):
        make_spec(gates=[{"metric": "site_roc_auc", "min": 0.6}])
