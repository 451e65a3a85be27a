"""What is left out of a large table: which rows, which candidates, which repeats; and nothing of a small one."""

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from healthrisk.spec import DatasetSpec
from healthrisk.training import cross_validation, estimators, sampling, search
from healthrisk.training.intervals import proportion

Rows = tuple[np.ndarray, np.ndarray]
PENALTIES = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0)


def make_spec(**changes: Any) -> DatasetSpec:
    document = {
        "name": "invented",
        "title": "Invented",
        "description": "Nobody.",
        "columns": [{"name": name, "label": name, "kind": "number", "range": [-9, 9]} for name in "abc"],
        "target": {
            "name": "y",
            "label": "Outcome",
            "classes": [{"name": "no", "value": 0, "raw": [0]}, {"name": "yes", "value": 1, "raw": [1]}],
        },
        "search": {"logistic_regression": {"C": PENALTIES}},
        "risk_levels": [{"name": "Low", "below": 0.5}, {"name": "High"}],
    }
    return DatasetSpec.model_validate(document | changes)


def invented(rows: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 3))
    return matrix, (matrix[:, 0] + 0.5 * matrix[:, 1] + rng.logistic(size=rows) > 1).astype(np.int64)


def test_a_sample_holds_its_share_of_each_class_and_lies_within_a_larger_one() -> None:
    y = np.random.default_rng(0).choice(3, 10_000, p=[0.7, 0.28, 0.02])
    small, large = sampling.stratified(y, 500, 7), sampling.stratified(y, 2000, 7)
    assert np.bincount(y[small]) == pytest.approx(500 * np.bincount(y) / len(y), abs=1)
    assert (np.diff(small) > 0).all()
    assert set(small) < set(large)
    assert np.array_equal(sampling.stratified(y, 20_000, 7), np.arange(10_000))
    assert not np.array_equal(small, sampling.stratified(y, 500, 8))


def test_so_many_rows_are_judged_that_the_scarcest_class_has_a_narrow_interval() -> None:
    spec = make_spec()
    for share in (0.02, 0.3):
        y = (np.arange(1_000_000) < share * 1_000_000).astype(np.int64)
        judged = sampling.judged(spec, y, 0)
        cases = int(y[judged].sum())
        half = proportion(cases // 2, cases)
        assert half.high - half.low <= spec.scale.share_width
        assert spec.scale.judged_rows <= len(judged) < 150_000
    every = np.arange(spec.scale.whole_rows)
    assert np.array_equal(sampling.judged(spec, every % 2, 0), every)


@pytest.mark.parametrize(
    ("candidates", "rows", "expected"),
    [
        (8, 5_000, [(8, 5_000)]),
        (8, 1_000_000, [(8, 3_334), (3, 10_000)]),
        (12, 1_000_000, [(12, 1_112), (4, 3_334), (2, 10_000)]),
        (8, 6_000, [(8, 3_334), (3, 6_000)]),
        (2, 80_000, [(2, 10_000)]),
        (1, 80_000, [(1, 10_000)]),
    ],
)
def test_each_rung_has_a_third_of_the_candidates_and_three_times_the_rows(
    candidates: int, rows: int, expected: list[tuple[int, int]]
) -> None:
    assert sampling.rungs(make_spec(), np.arange(rows) % 2, candidates, 10_000) == expected


def test_no_rung_is_without_the_scarcest_class() -> None:
    """One row in 10,000: a hundredth of a rung's rows would hold none, so every rung has `min_cases` of them."""
    y = (np.arange(1_000_000) % 10_000 == 0).astype(np.int64)
    rungs = sampling.rungs(make_spec(), y, 8, 10_000)
    assert rungs == [(8, 200_000)]


@pytest.mark.slow
def test_a_large_table_is_searched_by_halving_and_a_small_one_as_by_scikit_learn() -> None:
    matrix, y = invented(3000)
    whole = search.Search(make_spec(), "logistic_regression", 3).fit(matrix, y)
    model = estimators.make_model(make_spec(), "logistic_regression", 3, {})
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    grid = {"classifier__C": list(PENALTIES)}
    theirs = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds, refit=False).fit(matrix, y)
    (rung,) = whole.record.rungs
    assert [one.mean for one in rung.candidates] == pytest.approx(-theirs.cv_results_["mean_test_score"], abs=1e-12)
    assert whole.best_params_ == theirs.best_params_
    halved = search.Search(make_spec(scale={"whole_rows": 200, "search_rows": 900}), "logistic_regression", 3)
    rungs = halved.fit(matrix, y).record.rungs
    assert [len(rung.candidates) for rung in rungs] == [8, 3]
    # Shares of classes are rounded up.
    assert [rung.rows for rung in rungs] == pytest.approx([300, 900], abs=2)
    assert (whole.record.folds, halved.record.folds) == (5, 3)
    best = sorted(rungs[0].candidates, key=lambda one: one.mean)[:3]
    assert [one.parameters for one in rungs[1].candidates] == [one.parameters for one in best]
    assert halved.best_parameters["C"] >= 0.1


@pytest.mark.slow
def test_a_halved_search_keeps_patients_together() -> None:
    """Patients who come five times, with outcomes that nothing foretells: a forest knows them again."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(120), 5)
    matrix, y = rng.normal(size=(120, 3))[patients], rng.integers(0, 2, 120)[patients]
    spec = make_spec(scale={"whole_rows": 100, "search_rows": 400}, search={"random_forest": {"min_samples_leaf": [1]}})
    known = search.Search(spec, "random_forest", 0).fit(matrix, y).record
    alone = search.Search(spec, "random_forest", 0).fit(matrix, y, patients).record
    assert known.rungs[0].rows == alone.rungs[0].rows < len(y)
    assert known.rungs[0].candidates[0].mean < 0.4
    assert alone.rungs[0].candidates[0].mean > 0.69


def test_repeats_end_when_the_interval_is_narrow_and_never_in_a_small_table() -> None:
    matrix, y = invented(1500)

    def repeats(**scale: float) -> int:
        spec = make_spec(scale=scale)
        model = estimators.make_model(spec, "logistic_regression", 0, {"C": 1.0})
        scores, out_of_fold = cross_validation.validate(spec, model, matrix, y, 1)
        assert out_of_fold.sum(axis=1) == pytest.approx(1)
        return len(scores) // spec.selection.folds

    assert repeats(whole_rows=1500, score_width=0.9) == 5
    assert repeats(whole_rows=1000, score_width=0.9) == 1
    assert repeats(whole_rows=1000, score_width=0.001) == 5


def test_what_repeats_tell_is_the_same_however_many_follow() -> None:
    matrix, y = invented(1500)
    few, many = (make_spec(scale={"whole_rows": 1000, "score_width": width}) for width in (0.9, 0.001))
    model = estimators.make_model(few, "logistic_regression", 0, {"C": 1.0})
    first, pooled = cross_validation.validate(few, model, matrix, y, 1)
    every, pooled_too = cross_validation.validate(many, model, matrix, y, 1)
    assert every[: len(first)] == first
    assert np.array_equal(pooled, pooled_too)


def test_a_tree_of_a_large_forest_draws_so_many_rows_unless_the_spec_decides() -> None:
    spec = make_spec()
    assert estimators.limits(spec, "random_forest", 5_000) == {}
    assert estimators.limits(spec, "random_forest", 5_001) == {"max_samples": 5_000}
    assert estimators.limits(spec, "gradient_boosting", 10**6) == {}
    own = make_spec(search={"random_forest": {"max_samples": [0.5]}})
    assert estimators.limits(own, "random_forest", 10**6) == {}
    assert [estimators.search_rows(which, "random_forest") for which in (spec, own)] == [5_000, 10_000]
    assert estimators.search_rows(spec, "gradient_boosting") == 10_000
    low = make_spec(scale={"tree_rows": 100, "whole_rows": 100})
    matrix, y = invented(2000)
    small = estimators.make_model(low, "random_forest", 0, estimators.limits(low, "random_forest", 2000))
    nodes = [tree.tree_.n_node_samples[0] for tree in small.fit(matrix, y)["classifier"].estimators_]
    assert max(nodes) <= 100
