"""What guidelines ask beside figures of merit: sizes, thresholds, smooth calibration, sets, the model written down."""

import numpy as np
import pytest
from crepes import ConformalClassifier
from scipy import special

from healthrisk.evidence import conformal, fairness, imputation, linear_terms, operating_points, sample_size, smoothing
from healthrisk.evidence.event import Event, binarize
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing, train

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


def drawn(rows: int, seed: int, stretch: float = 1.0) -> Event:
    """Outcomes of known risks, whose log-odds are then stretched."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, rows)
    happened = rng.random(rows) < special.expit(logit)
    p = special.expit(stretch * logit)
    return Event(happened, p > 0.5, p)


def test_the_sample_size_is_that_of_the_paper() -> None:
    """Riley et al. 2020, figure 3's arithmetic: 24 parameters, an R squared of 0.288, an outcome of 17.4 %."""
    assert sample_size._patients(24, 0.288, 0.9) == 623
    assert sample_size._patients(24, 0.288, 0.288 / (0.288 + 0.05 * 0.603)) == 662


def test_heart_disease_asks_for_more_patients_than_there_are(heart: Heart) -> None:
    spec, _, y = heart
    assert sample_size.parameters(spec) == 18
    p = np.full(len(y), y.mean())
    nothing_known = sample_size.describe(spec, len(y), Event(y == 1, p > 0.5, p))
    assert nothing_known is not None
    assert nothing_known.fewest == 382
    assert 1340 < nothing_known.most < 1360
    assert {criterion.assumed for criterion in nothing_known.criteria} == {"R² of 15% of the possible", ""}
    assert sample_size.describe(spec, len(y), Event(y > 5, p > 0.5, p)) is None


def test_levels_are_judged_where_they_begin(heart: Heart) -> None:
    spec, _, y = heart
    p = np.clip(np.where(y == 1, 0.6, 0.2) + np.linspace(-0.15, 0.15, len(y)), 0, 1)
    low, high = operating_points.points(spec, y, np.column_stack([1 - p, p]))
    assert (low.level, low.threshold, high.level, high.threshold) == ("Moderate", 0.3, "High", 0.7)
    acted = p >= 0.3
    assert low.ppv is not None
    assert low.ppv.mean == pytest.approx((y[acted] == 1).mean())
    assert low.net_benefit.mean == pytest.approx(((y == 1) & acted).mean() - 0.3 / 0.7 * ((y == 0) & acted).mean())
    assert low.beside == "everybody"
    assert low.net_benefit.low < low.net_benefit.mean < low.net_benefit.high
    never = operating_points.points(spec, y, np.column_stack([np.ones(len(y)), np.zeros(len(y))]))[1]
    assert (never.acted, never.ppv, never.gain.mean) == (0, None, 0)


def test_a_smooth_curve_holds_the_diagonal_of_a_calibrated_model_and_not_of_another() -> None:
    honest, steep = smoothing.smooth("e", drawn(4000, 0)), smoothing.smooth("e", drawn(4000, 0, 2.5))
    assert honest is not None
    assert steep is not None
    within = [low <= p <= high for low, p, high in zip(honest.low, honest.predicted, honest.high, strict=True)]
    assert np.mean(within) > 0.9
    outside = [not low <= p <= high for low, p, high in zip(steep.low, steep.predicted, steep.high, strict=True)]
    assert np.mean(outside) > 0.6
    assert honest.mean_error < 0.02
    assert 0.08 < steep.mean_error < steep.error_90
    assert smoothing.smooth("e", Event(np.zeros(9, dtype=bool), np.zeros(9, dtype=bool), np.full(9, 0.2))) is None


@pytest.mark.parametrize("seed", range(3))
def test_sets_hold_the_true_class_of_a_rare_class_too(seed: int) -> None:
    """Of three classes, the third in 4 % of rows: the likeliest class hardly ever is the third."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (6000, 3)) + np.array([1.5, 0.5, -2.5])
    p = special.softmax(scores, axis=1)
    y = (p.cumsum(axis=1) < rng.random(6000)[:, None]).sum(axis=1)
    sets = conformal.predict_sets(y, p, seed, 10)
    for place in range(3):
        covered = sets[y == place, place].mean()
        assert covered == pytest.approx(conformal.PROMISED, abs=0.04)
    assert (p.argmax(axis=1)[y == 2] == 2).mean() < 0.5


def test_the_p_values_are_those_of_crepes() -> None:
    rng = np.random.default_rng(0)
    # Rounded, so that scores are tied.
    known, asked = rng.random(300).round(2), rng.random(80).round(2)
    theirs = ConformalClassifier().fit(known).predict_p(asked[:, None], smoothing=False)[:, 0]
    assert np.array_equal(conformal.p_values(known, asked), theirs)


def test_intersections_are_the_people_of_both_groups(heart: Heart) -> None:
    spec, matrix, y = heart
    p = np.where(y == 1, 0.7, 0.3)
    rows = fairness.intersections(spec, matrix, binarize(spec, y, np.column_stack([1 - p, p])), 0)
    assert sum(row.rows for row in rows) == len(y)
    young = next(row for row in rows if row.group == "Sex female, age below 50")
    ages, sexes = matrix[:, 0], matrix[:, 1]
    assert young.rows == ((ages < 50) & (sexes == 0)).sum()
    assert young.roc_auc is None


@pytest.mark.slow
def test_a_linear_model_written_down_gives_its_own_probabilities(heart: Heart) -> None:
    spec, matrix, y = heart
    small = spec.model_copy(
        update={
            "search": {"logistic_regression": {"C": (0.3,)}},
            "selection": spec.selection.model_copy(update={"repeats": 1}),
        }
    )
    fitted, _ = preprocessing.fit(small, matrix)
    model = train.train(small, "logistic_regression", fitted, (matrix, y), 0)
    linear = linear_terms.describe(small, model)
    assert linear is not None
    whole = matrix[~np.isnan(matrix).any(axis=1)]
    logit = np.full(len(whole), linear.intercepts[0])
    labels = {column.label: place for place, column in enumerate(spec.columns)}
    for term in linear.terms:
        place = labels[term.label]
        values = whole[:, place]
        if not term.per.startswith("per "):
            values = np.array([spec.columns[place].format_value(value) == term.per for value in values], dtype=float)
        logit += term.coefficients[0] * values
    assert special.expit(logit) == pytest.approx(model.probabilities(small, whole)[:, 1], abs=1e-6)


@pytest.mark.slow
def test_other_ways_with_missing_values_are_paired_with_the_served_one(heart: Heart) -> None:
    spec, matrix, y = heart
    small = spec.model_copy(update={"selection": spec.selection.model_copy(update={"folds": 3})})
    served, indicators, multiple = imputation.compare(small, "logistic_regression", {"C": 0.3}, (matrix, y), 0, 1)
    assert served.effects["roc_auc"].change.mean == 0
    for way in (indicators, multiple):
        assert way.effects["roc_auc"].change.mean != 0
        assert abs(way.effects["roc_auc"].change.mean) < 0.03
    assert imputation.compare(small, "logistic_regression", {}, (np.nan_to_num(matrix), y), 0, 1) == ()


def test_a_code_is_imputed_as_a_code(heart: Heart) -> None:
    spec, matrix, _ = heart
    filled = imputation.MultiplyImputed(spec, None, 0)._rounded(matrix + 0.3)
    for place, column in enumerate(spec.columns):
        if column.kind == "code":
            assert set(np.unique(filled[~np.isnan(matrix[:, place]), place])) <= set(column.code_values.values())
