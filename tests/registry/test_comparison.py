"""Champion against challenger on the same patients: seeds do not swap them, and harder data can be won."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import Scorer
from healthrisk.registry.comparison import Comparison, IncomparableError, compare
from healthrisk.spec import DatasetSpec
from healthrisk.training import cross_validation, estimators

Make = Callable[..., Bundle]
Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def champion(bundle_of: Make) -> Bundle:
    """A logistic regression of the shipped table."""
    return bundle_of("heart-disease", "logistic_regression")


def challenge(champion: Bundle, spec: DatasetSpec, matrix: np.ndarray, y: np.ndarray, seed: int) -> Comparison:
    """Hold a logistic regression of these rows, cross-validated, against the champion on them."""
    model = estimators.make_model(spec, "logistic_regression", seed, {"C": 0.3})
    folds = cross_validation.splits(spec, y, seed, 1)
    _, unseen = cross_validation.cross_validate(spec, model, matrix, y, folds)
    return compare(champion, spec, (matrix, y), unseen)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_seed_of_the_same_table_does_not_win(champion: Bundle, heart: Heart, seed: int) -> None:
    assert not challenge(champion, *heart, seed).challenger_is_better


def test_a_model_of_changed_patients_wins_on_them_however_hard_they_are(champion: Bundle, heart: Heart) -> None:
    """Risk follows other variables than before, with so much chance in it that no model ranks well."""
    spec, matrix, _ = heart
    rng = np.random.default_rng(0)
    rows = matrix[rng.integers(0, len(matrix), 1200)]
    drop = rows[:, spec.features.index("thalach")]
    y = (rng.random(len(rows)) < special.expit((drop - np.nanmean(drop)) / np.nanstd(drop))).astype(np.int64)
    compared = challenge(champion, spec, rows, y, 0)
    assert compared.challenger_is_better
    assert compared.challenger > 0.5
    assert compared.gain == pytest.approx(compared.champion - compared.challenger)


def test_the_same_probabilities_are_no_gain(champion: Bundle, heart: Heart) -> None:
    spec, matrix, y = heart
    compared = compare(champion, spec, (matrix, y), Scorer(champion).probabilities(matrix).astype(np.float64))
    assert (compared.gain, compared.low, compared.high) == (0, 0, 0)
    assert not compared.challenger_is_better


def test_a_table_that_the_champion_cannot_score_is_named(champion: Bundle, heart: Heart) -> None:
    spec, matrix, y = heart
    without = spec.reduce(["chol"])
    with pytest.raises(IncomparableError, match="no column 'chol' as it knows it"):
        compare(champion, without, (np.delete(matrix, spec.features.index("chol"), 1), y), np.zeros((len(y), 2)))
    document = json.loads(spec.to_json())
    document["target"]["classes"][1]["value"] = 2
    with pytest.raises(IncomparableError, match="classes"):
        compare(champion, DatasetSpec.parse(json.dumps(document)), (matrix, y), np.zeros((len(y), 2)))
