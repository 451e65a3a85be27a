"""Recalibration: it undoes a distortion that is known, on rows that the classifier was fitted without."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier

from healthrisk.errors import TrainingError
from healthrisk.training.recalibration import RecalibratedClassifier, fit_layer


@pytest.mark.parametrize("shifts", [(0.0, 0.7), (0.0, -1.0, 0.5)])
def test_a_known_distortion_is_undone(shifts: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20_000, len(shifts)))
    true = softmax(2.0 * scores + shifts, axis=1)
    y = (rng.random((len(true), 1)) > true.cumsum(axis=1)).sum(axis=1)
    layer = fit_layer(scores, y)
    assert layer.slope == pytest.approx(2.0, abs=0.1)
    assert layer.shifts == pytest.approx(np.array(shifts), abs=0.1)
    # What says the same up to a constant in each row has the same layer, and the same probabilities.
    moved = scores + rng.normal(size=(len(scores), 1))
    assert fit_layer(moved, y).slope == pytest.approx(layer.slope, abs=1e-3)
    assert layer.probabilities(moved) == pytest.approx(layer.probabilities(scores))


def test_classes_that_are_told_apart_have_an_answer() -> None:
    y = np.repeat([0, 1], 50)
    layer = fit_layer(np.column_stack([np.zeros(100), np.where(y, 1.0, -1.0)]), y)
    assert 1 < layer.slope < 10
    assert 0.9 < layer.probabilities(np.array([[0.0, 1.0]]))[0, 1] < 1


def test_rows_of_one_group_share_a_fold() -> None:
    """Patients who come five times, with outcomes that nothing foretells: a forest knows them again."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(80), 5)
    inputs, y = rng.normal(size=(80, 4))[patients], rng.integers(0, 2, 80)[patients]
    forest = RandomForestClassifier(30, random_state=0)
    known = RecalibratedClassifier(forest, 5, 0).fit(inputs, y)
    alone = RecalibratedClassifier(forest, 5, 0).fit(inputs, y, groups=patients)
    assert known.layer.slope > 1
    assert alone.layer.slope < 0.3


@pytest.mark.parametrize(("y", "groups"), [([0] * 9 + [1], None), ([0] * 8 + [1] * 2, [*range(8), 8, 8])])
def test_a_class_that_cannot_stand_on_both_sides_is_said(y: list[int], groups: list[int] | None) -> None:
    classifier = RecalibratedClassifier(RandomForestClassifier(2), 5, 0)
    together = None if groups is None else np.array(groups)
    with pytest.raises(TrainingError, match="recalibration: a class has"):
        classifier.fit(np.zeros((10, 1)), np.array(y), together)
