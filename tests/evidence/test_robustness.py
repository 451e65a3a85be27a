"""Wrong labels, noise and gaps do harm in the right order; the detector finds wrong labels."""

from typing import Any

import numpy as np
import pytest

from healthrisk.evidence import robustness
from healthrisk.spec import DatasetSpec
from healthrisk.spec.metric import SUSPECT_LABELS
from healthrisk.training import cross_validation, estimators

pytestmark = pytest.mark.slow

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]
PARAMETERS = {"C": 0.03}


@pytest.fixture(scope="module")
def stressed(heart: Heart) -> list[dict[str, Any]]:
    spec, *part = heart
    return robustness.stress(spec, "logistic_regression", PARAMETERS, tuple(part), seed=0, repeats=1)


def test_every_condition_is_measured_with_intervals(stressed: list[dict[str, Any]]) -> None:
    seen = [(row.what, row.strength, row.target) for row in stressed]
    assert seen[0] == ("nothing", 0.0, "")
    for target in ("everybody", "Sex: female"):
        assert [strength for what, strength, who in seen if (what, who) == ("label flips", target)] == [0.05, 0.1, 0.2]
    assert {what for what, _, _ in seen} == {"nothing", "label flips", "noise", "missing at serving"}
    for row in stressed:
        assert set(row.sensitivity) == {"everybody", "Sex: female"}
        for name in robustness.SHOWN:
            for interval in (row.effects[name], row.effects[name].change):
                assert interval.low <= interval.mean <= interval.high
            assert row.effects[name].change.mean == pytest.approx(
                row.effects[name].mean - stressed[0].effects[name].mean
            )


def test_nothing_is_plain_cross_validation(heart: Heart, stressed: list[dict[str, Any]]) -> None:
    spec, matrix, y = heart
    model = estimators.make_model(spec, "logistic_regression", 0, PARAMETERS)
    scores, _ = cross_validation.cross_validate(spec, model, matrix, y, cross_validation.splits(spec, y, 1, 1))
    assert (
        cross_validation.summarize(spec, scores).intervals["roc_auc"].model_dump().items()
        <= stressed[0].effects["roc_auc"].model_dump().items()
    )


def test_more_harm_scores_worse(stressed: list[dict[str, Any]]) -> None:
    brier = {(row.what, row.strength, row.target): row.effects["brier"].mean for row in stressed}
    untouched = brier["nothing", 0.0, ""]
    assert untouched < brier["label flips", 0.05, "everybody"] < brier["label flips", 0.2, "everybody"]
    assert untouched < brier["noise", 0.5, "numbers"]
    gaps = [brier["missing at serving", share, "values that may be missing"] for share in robustness.GAPS]
    assert untouched < gaps[0] < gaps[1]


def test_a_change_is_known_better_than_the_score_itself(stressed: list[dict[str, Any]]) -> None:
    def width(interval: dict[str, float]) -> float:
        return interval.high - interval.low

    assert all(width(row.effects["brier"].change) < width(row.effects["brier"]) for row in stressed)
    worst = next(row for row in stressed if (row.strength, row.target) == (0.2, "everybody"))
    assert worst.effects["brier"].change.low > 0


def test_flips_fall_on_the_group_alone_and_change_the_class() -> None:
    y = np.arange(300) % 3
    among = np.arange(300) < 100
    wrong = robustness.flip(y, among, 0.2, 3, np.random.default_rng(0))
    assert (wrong != y).sum() == 20
    assert not (wrong != y)[~among].any()
    assert set(wrong) == {0, 1, 2}


def test_the_detector_finds_flipped_labels(heart: Heart) -> None:
    spec, *part = heart
    rows = robustness.detect(spec, "logistic_regression", PARAMETERS, tuple(part), seed=0)
    clean, *targeted = rows
    flipped = [row for row in targeted if row.target == "everybody"]
    assert [row.strength for row in targeted if row.target == "Sex: female"] == [0.05, 0.1, 0.2]
    assert clean.flagged.mean <= 0.1
    assert clean.recall is clean.precision is None
    assert [row.strength for row in flipped] == [0.05, 0.1, 0.2]
    assert flipped[-1].recall.mean >= 0.6
    assert flipped[-1].precision.mean >= 0.5
    assert flipped[-1].flagged.mean > spec.gate(SUSPECT_LABELS).bound > clean.flagged.mean
