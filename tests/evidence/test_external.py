"""Other sites through the spec's own sources: near the published figures where they are, named where they are not."""

from pathlib import Path

import numpy as np
import pytest

from healthrisk.evidence import external
from healthrisk.evidence.ablation import AblatedModel
from healthrisk.spec import DatasetSpec
from healthrisk.training import estimators

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


@pytest.fixture
def models(heart: Heart) -> dict[str, external.Score]:
    spec, matrix, y = heart
    full = estimators.make_model(spec, "logistic_regression", 0, {"C": 0.1}).fit(matrix, y)
    (ablation,) = spec.evidence.ablations
    core = AblatedModel(spec, ablation, "logistic_regression", {"C": 0.1}, 0).fit((matrix, y))
    return {"full": full.predict_proba, "core": core.probabilities}


@pytest.mark.slow
def test_sites_land_near_the_published_figures(
    heart: Heart, models: dict[str, external.Score], uci: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTHRISK_DATA", str(uci))
    hungarian, swiss, veterans = external.sites(heart[0], models, 0, download=False)
    assert (hungarian.rows, swiss.rows) == (294, 123)
    assert {"slope", "ca", "thal"} <= set(hungarian.unrecorded)
    assert "chol" in swiss.unrecorded
    for site, area, accuracy in ((hungarian, 0.89, 0.82), (swiss, 0.75, 0.44)):
        assert site.models["full"].roc_auc.mean == pytest.approx(area, abs=0.03)
        assert site.models["full"].accuracy.mean == pytest.approx(accuracy, abs=0.12)
        for figures in site.models.values():
            assert figures.roc_auc.low < figures.roc_auc.mean < figures.roc_auc.high
            assert figures.recalibrated.brier <= figures.brier
    # Prevalence is 36 % in Budapest and 93 % in Switzerland: there the risks stated are far too low.
    low = swiss.models["full"].calibration
    assert low.observed - low.expected > 0.3
    assert low.in_the_large.low > 1
    assert "HEALTHRISK_DATA" in veterans.missing
    assert "models" not in veterans


def test_a_site_that_cannot_be_read_is_named_with_the_reason(
    heart: Heart, models: dict[str, external.Score], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = heart[0]
    (tmp_path / "processed.hungarian.data").write_text("not what it was\n")
    monkeypatch.setenv("HEALTHRISK_DATA", str(tmp_path))
    hungarian, *others = external.sites(spec, models, 0, download=False)
    assert "the spec expects" in hungarian.missing
    assert all("not on this machine" in site.missing for site in others)
