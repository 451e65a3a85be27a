"""What a search optimises is what a model is good at: by log loss risks mean what they say, by area they rank."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_predict

from healthrisk import spec as specs
from healthrisk.data.hospital import write_table
from healthrisk.data.ingest import ingest
from healthrisk.evidence import calibration, event
from healthrisk.spec import DatasetSpec, Verdict
from healthrisk.spec.metric import LOG_LOSS, ROC_AUC, ScoreMetric
from healthrisk.spec.policies import Selection
from healthrisk.training import estimators, preprocessing, train
from healthrisk.training.evaluate import evaluate
from healthrisk.training.intervals import Estimate
from healthrisk.training.search import DEFAULT_SEARCH
from healthrisk.training.split import read_common, read_split, write_split

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


def searched_by(metric: ScoreMetric, spec: DatasetSpec) -> DatasetSpec:
    selection = spec.selection.model_copy(update={"metric": metric, "repeats": 1})
    search = {"logistic_regression": {"C": tuple(DEFAULT_SEARCH["logistic_regression"]["C"])}}
    return spec.model_copy(update={"selection": selection, "search": search})


def slope(spec: DatasetSpec, y: np.ndarray, trained: train.Trained) -> Estimate:
    measured = calibration.measure(event.binarize(spec, y, trained.out_of_fold)).calibration_slope
    assert measured is not None
    return measured


def test_a_proper_score_is_what_a_spec_gets_that_names_none() -> None:
    assert Selection().metric == LOG_LOSS
    assert {specs.load(name).selection.metric for name in specs.builtin_names()} == {LOG_LOSS}


@pytest.mark.slow
def test_heart_disease_searched_by_log_loss_has_risks_as_far_apart_as_they_are(heart: Heart) -> None:
    spec, matrix, y = heart
    fitted, _ = preprocessing.fit(spec, matrix)
    by_loss, by_area = (
        train.train(searched_by(metric, spec), "logistic_regression", fitted, (matrix, y), 0)
        for metric in (LOG_LOSS, ROC_AUC)
    )
    assert slope(spec, y, by_loss).low < 1 < slope(spec, y, by_loss).high
    assert by_loss.record.parameters["C"] > by_area.record.parameters["C"]
    assert slope(spec, y, by_area).mean > slope(spec, y, by_loss).mean + 0.1


@pytest.mark.slow
def test_a_class_of_two_in_a_hundred_is_not_smoothed_away(tmp_path: Path) -> None:
    """Two thousand visits, three outcomes: the risks of the rare one lie as far apart as they are."""
    spec = searched_by(LOG_LOSS, specs.load("hospital"))
    write_table(tmp_path / "visits.csv", 2000, 0)
    ingest(spec, str(tmp_path / "visits.csv"), tmp_path / "table")
    parts = [tmp_path / "train", tmp_path / "test"]
    write_split(spec, tmp_path / "table", 0, *parts, tmp_path / "preprocessor")
    matrix, y = read_split(spec, parts[0])
    groups, _ = read_common(parts[0])
    fitted, _ = preprocessing.fit(spec, matrix)
    trained = train.train(spec, "logistic_regression", fitted, (matrix, y), 0, groups)
    assert 0.01 < (y == 2).mean() < 0.03
    assert slope(spec, y, trained).low < 1 < slope(spec, y, trained).high


@pytest.mark.slow
def test_the_out_of_fold_probabilities_are_those_of_one_cross_validation_and_no_ensemble(heart: Heart) -> None:
    spec, matrix, y = heart
    one = spec.model_copy(update={"search": {"logistic_regression": {"C": (0.3,)}}})
    assert one.selection.repeats > 1
    fitted, _ = preprocessing.fit(spec, matrix)
    trained = train.train(one, "logistic_regression", fitted, (matrix, y), 0)
    model = estimators.make_model(one, "logistic_regression", 0, {"C": 0.3})
    folds = list(RepeatedStratifiedKFold(n_splits=5, n_repeats=1, random_state=1).split(matrix, y))
    expected = cross_val_predict(model, matrix, y, cv=folds, method="predict_proba")
    assert trained.out_of_fold == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_an_area_from_few_events_has_no_interval_and_no_verdict(heart: Heart) -> None:
    spec, matrix, y = heart
    small = spec.model_copy(update={"search": {"logistic_regression": {"C": (0.3,)}}})
    fitted, _ = preprocessing.fit(small, matrix)
    models = [train.train(small, "logistic_regression", fitted, (matrix, y), 0)]
    few = np.r_[np.flatnonzero(y == 0)[:60], np.flatnonzero(y == 1)[:2]]
    decision = evaluate(small, models, (matrix, y), (matrix[few], y[few]), 0)
    (gate,) = (one for one in decision.gates if one.gate.metric == ROC_AUC)
    assert (gate.verdict, gate.reason) == (
        Verdict.INCONCLUSIVE,
        f"the hold-out has 2 of class 'disease', {spec.evidence.min_cases} are needed",
    )
    assert ROC_AUC.name not in decision.winning.test.intervals
    assert LOG_LOSS.name in decision.winning.test.intervals
