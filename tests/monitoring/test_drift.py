"""Drift: few false alarms, real shifts found and named, in files and in a real Prometheus."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from healthrisk import datasets
from healthrisk.bundle import Bundle, reference
from healthrisk.data import encoding
from healthrisk.errors import SourceError
from healthrisk.inference.scorer import Scorer
from healthrisk.monitoring import drift, traffic
from healthrisk.monitoring.table_counts import counts
from healthrisk.serving.metrics import Distributions, ServerMetrics
from healthrisk.spec import DatasetSpec
from tests.support.commands import healthrisk
from tests.support.prometheus import wait_for
from tests.support.servers import free_ports

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]
# The exit code of `drift` where something has drifted.
DRIFTED = 3
TRIALS = 200


@pytest.fixture(scope="module")
def bundle(bundle_of: Callable[..., Bundle]) -> Bundle:
    return bundle_of("heart-disease", "logistic_regression")


@pytest.mark.parametrize("rows", [60, 150])
@pytest.mark.slow
def test_false_alarms_stay_below_the_stated_rate(bundle: Bundle, heart: Heart, rows: int) -> None:
    spec, matrix, _ = heart
    scores = Scorer(bundle).probabilities(matrix)
    alarms = 0
    for seed in range(TRIALS):
        order = np.random.default_rng(seed).permutation(len(matrix))
        ours, theirs = order[:150], order[150 : 150 + rows]
        known = reference.describe(spec, matrix[ours], scores[ours])
        compared = drift.compare(known, reference.recount(spec, known, matrix[theirs], scores[theirs]))
        alarms += compared.verdict != "stable"
    assert alarms <= drift.FALSE_ALARMS * TRIALS


@pytest.mark.parametrize("rows", [60, 303])
@pytest.mark.slow
def test_resamples_of_the_training_data_stay_below_it_too(bundle: Bundle, heart: Heart, rows: int) -> None:
    spec, matrix, _ = heart
    scores, known = Scorer(bundle).probabilities(matrix), bundle.reference
    alarms = 0
    for seed in range(TRIALS):
        drawn = np.random.default_rng(seed).integers(0, len(matrix), rows)
        compared = drift.compare(known, reference.recount(spec, known, matrix[drawn], scores[drawn]))
        alarms += compared.verdict != "stable"
    assert alarms <= drift.FALSE_ALARMS * TRIALS


@pytest.mark.parametrize("rows", [100, 10_000])
def test_significance_alone_is_no_drift(bundle: Bundle, heart: Heart, rows: int) -> None:
    """A tenth of a standard deviation is a certain difference in many rows, and none that matters."""
    spec, matrix, _ = heart
    rng = np.random.default_rng(0)
    many, theirs = matrix[rng.integers(0, len(matrix), 10_000)], matrix[rng.integers(0, len(matrix), rows)].copy()
    place = spec.features.index("chol")
    theirs[:, place] += 0.1 * np.nanstd(theirs[:, place])
    known = reference.describe(spec, many, np.zeros((len(many), 2), np.float32))
    compared = drift.compare(known, reference.recount(spec, known, theirs, np.zeros((rows, 2), np.float32)))
    moved = next(shift for shift in compared.shifts if shift.feature == "chol")
    assert moved.verdict == "stable"
    assert (moved.adjusted < drift.FALSE_ALARMS) == (rows > 1000)


def test_a_shift_is_found_and_named(bundle: Bundle, heart: Heart) -> None:
    spec, matrix, _ = heart
    older = matrix.copy()
    older[:, spec.features.index("age")] += 12
    older[::2, spec.features.index("thal")] = np.nan
    scores = np.tile(np.array([[0.6, 0.4]], np.float32), (len(matrix), 1))
    known = reference.describe(spec, matrix, scores)
    compared = drift.compare(known, reference.recount(spec, known, older, scores))
    assert (compared.verdict, {*compared.drifting}) == ("strong", {"age", "thal"})
    by_name = {(shift.feature, shift.what): shift for shift in compared.shifts}
    assert by_name["age", "values"].distance == pytest.approx(0.5, abs=0.1)
    assert by_name["age", "values"].psi > 0.25
    assert by_name["thal", "missing"].distance == pytest.approx(0.5, abs=0.02)
    assert by_name["thal", "values"].verdict == "stable"


@pytest.mark.slow
def test_half_of_the_rows_refused_is_a_drift_of_its_own(bundle: Bundle, heart: Heart, tmp_path: Path) -> None:
    """Cholesterol in mmol/l in every other row: the rows that are left look as they always did."""
    spec, matrix, _ = heart
    rows = pd.DataFrame(encoding.decode(spec, matrix), columns=spec.features)
    rows.loc[::2, "chol"] /= 38.67
    rows.to_csv(tmp_path / "table.csv", index=False)
    done = healthrisk("drift", "--reference", bundle.path, tmp_path / "table.csv")
    assert done.returncode == DRIFTED, done.stderr
    printed = json.loads(done.stdout)
    assert printed["refused_rows"] == 152
    assert printed["verdict"] == "strong"
    assert {"rows", "chol"} <= set(printed["drifting"])
    shift = next(one for one in printed["shifts"] if (one["feature"], one["what"]) == ("chol", "refused"))
    assert shift["distance"] == pytest.approx(152 / 303)


def test_values_that_begin_to_be_missing_are_found(bundle: Bundle, heart: Heart) -> None:
    """From 0 to 8 % in every column that may lack a value: a tenth of all distances, and none of it chance."""
    spec, matrix, _ = heart
    rng = np.random.default_rng(0)
    full = np.where(np.isnan(matrix), np.nanmedian(matrix, axis=0), matrix)
    optional = np.array([column.missing.allowed for column in spec.columns])
    gaps = np.where((rng.random(matrix.shape) < 0.08) & optional, np.nan, full)
    scorer = Scorer(bundle)
    known = reference.describe(spec, full, scorer.probabilities(full))
    compared = drift.compare(known, reference.recount(spec, known, gaps, scorer.probabilities(gaps)))
    missing = {one.feature for one in compared.shifts if one.what == "missing" and one.verdict != "stable"}
    assert len(missing) >= 9
    assert compared.verdict != "stable"


@pytest.mark.parametrize("rows", [300, 3000])
def test_a_rare_class_that_becomes_common_is_found_though_it_is_never_the_likeliest(rows: int) -> None:
    """Three classes: the severe one from 2 to 20 % of the patients, at most 0.4 probable."""
    spec = three_classes()
    rng = np.random.default_rng(0)

    def scored(severe: float) -> np.ndarray:
        risk = np.where(rng.random(rows) < severe, rng.uniform(0.1, 0.4, rows), rng.beta(1, 60, rows))
        return np.column_stack([0.6 * (1 - risk), 0.4 * (1 - risk), risk]).astype(np.float32)

    matrix = np.zeros((rows, 1))
    known = reference.describe(spec, matrix, scored(0.02))
    compared = drift.compare(known, reference.recount(spec, known, matrix, scored(0.20)))
    assert "predictions of severe" in compared.drifting
    assert not any(one.verdict != "stable" for one in compared.shifts if one.feature == "predictions")
    clean = drift.compare(known, reference.recount(spec, known, matrix, scored(0.02)))
    assert clean.verdict == "stable"


def three_classes() -> DatasetSpec:
    classes = [{"name": name, "value": name, "raw": [name]} for name in ("none", "moderate", "severe")]
    document = {
        "name": "three",
        "title": "T",
        "description": "D",
        "columns": [{"name": "x", "label": "X", "kind": "number", "range": [0, 1]}],
        "target": {"name": "y", "label": "Y", "classes": classes},
        "risk_levels": [{"name": "Low"}, {"name": "High", "any_of": ["severe"], "at_least": 0.2}],
    }
    return DatasetSpec.parse(json.dumps(document))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "moved", "still"),
    [
        ("hungarian", {"ca", "thal", "slope", "age", "restecg"}, {"sex", "trestbps"}),
        ("switzerland", {"chol", "ca", "fbs", "sex", "cp"}, {"trestbps", "exang"}),
    ],
)
def test_other_sites_are_flagged_by_the_command(
    bundle: Bundle, uci: Path, tmp_path: Path, site: str, moved: set[str], still: set[str]
) -> None:
    gauges = tmp_path / "drift.prom"
    file = uci / f"processed.{site}.data"
    done = healthrisk("drift", "--reference", bundle.path, file, "--exposition", gauges)
    assert done.returncode == DRIFTED, done.stderr
    printed = json.loads(done.stdout)
    assert printed["verdict"] == "strong"
    assert moved <= set(printed["drifting"])
    assert not still & set(printed["drifting"])
    families = {family.name: family for family in text_string_to_metric_families(gauges.read_text())}
    assert families["healthrisk_drift_features"].samples[0].value == len(printed["drifting"])
    assert len(families["healthrisk_drift_distance"].samples) == len(printed["shifts"])


def test_the_training_data_do_not_drift_from_themselves(bundle: Bundle) -> None:
    shipped = Path(datasets.__path__[0]) / "heart-disease.csv"
    current = counts(bundle, str(shipped))
    known = bundle.reference
    # A table has no validation of its own.
    assert current == known.model_copy(update={"validated": ()})
    assert drift.compare(known, current).verdict == "stable"


@pytest.mark.parametrize("family", ["logistic_regression", "random_forest"])
def test_fragments_are_counted_as_one_file(bundle_of: Callable[..., Bundle], tmp_path: Path, family: str) -> None:
    bundle = bundle_of("heart-disease", family)
    frame = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", na_values="?")
    frame.loc[::7, "chol"] = 9999
    frame.to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "folder").mkdir()
    for place, begin in enumerate(range(0, 303, 44)):
        frame.iloc[begin : begin + 44].to_parquet(tmp_path / "folder" / f"{place}.parquet")
    counted = counts(bundle, str(tmp_path / "whole.parquet"))
    assert counted.refused == {"chol": counted.refused_rows} == {"chol": 44}
    assert counts(bundle, str(tmp_path / "folder")) == counted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [("age,sex\n40,1\n", "has no column 'cp'"), ("", "cannot be read")],
)
def test_what_cannot_be_compared_is_said_in_a_line(bundle: Bundle, tmp_path: Path, content: str, message: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content)
    done = healthrisk("drift", "--reference", bundle.path, table)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def scraped(
    bundle: Bundle, scraping: Callable[..., AbstractContextManager[str]]
) -> Iterator[tuple[Distributions, str]]:
    """The servers' own counters, scraped by a real Prometheus; yields them and its address."""
    registry = CollectorRegistry()
    seen = Distributions("heart-disease", bundle, registry)
    with scraping(registry) as url:
        yield seen, url


def test_live_traffic_is_compared_from_prometheus_histograms(
    bundle: Bundle, heart: Heart, scraped: tuple[Distributions, str]
) -> None:
    spec, matrix, _ = heart
    seen, url = scraped
    older = matrix.copy()
    older[:, spec.features.index("age")] += 12
    wait_for(url, "feature_values_count")
    seen.add(older, Scorer(bundle).probabilities(older))
    wait_for(url, f'feature_values_count{{feature="age"}} >= {len(matrix)}')
    current = traffic.counts(bundle, url, "heart-disease", "10m")
    # Prometheus extrapolates an increase towards the window's ends: of every counter alike, but for rounding.
    expected = reference.recount(spec, bundle.reference, older, Scorer(bundle).probabilities(older))
    shares = [np.divide(each.features["age"].counts, each.rows) for each in (current, expected)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    compared = drift.compare(bundle.reference, current)
    assert "age" in compared.drifting
    assert compared.verdict == "strong"
    with pytest.raises(SourceError, match="holds no prediction of 'other'"):
        traffic.counts(bundle, url, "other", "10m")


def test_requests_that_servers_refused_are_a_drift_of_their_own(
    bundle: Bundle, heart: Heart, scraping: Callable[..., AbstractContextManager[str]]
) -> None:
    _, matrix, _ = heart
    registry = CollectorRegistry()
    seen, served = Distributions("heart-disease", bundle, registry), ServerMetrics("heart-disease", bundle, registry)
    served.rejected("range")
    # Of patients it says nothing.
    served.rejected("overloaded")
    with scraping(registry) as url:
        wait_for(url, "prediction_rejected_total", 2)
        seen.add(matrix, Scorer(bundle).probabilities(matrix))
        for _ in range(150):
            served.rejected("range")
            served.rejected("overloaded")
        wait_for(url, 'prediction_rejected_total{reason="range"} > 150')
        wait_for(url, f'feature_values_count{{feature="age"}} >= {len(matrix)}')
        current = traffic.counts(bundle, url, "heart-disease", "10m")
    assert set(current.refused) == {"range"}
    assert current.refused_rows / (current.rows + current.refused_rows) == pytest.approx(1 / 3, abs=0.02)
    compared = drift.compare(bundle.reference, current)
    assert compared.verdict == "strong"
    assert {"rows", "range"} <= set(compared.drifting)


def test_a_silent_prometheus_is_an_error(bundle: Bundle) -> None:
    (port,) = free_ports(1)
    with pytest.raises(SourceError, match="does not answer as a Prometheus does"):
        traffic.counts(bundle, f"http://127.0.0.1:{port}", "heart-disease", "1d")
