"""Explanations: they add up to the served probability, agree with the shap package and open no pickle."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from healthrisk.bundle import Bundle, parity
from healthrisk.bundle import bundle as bundle_files
from healthrisk.bundle.manifest import Provenance
from healthrisk.inference import background
from healthrisk.inference.scorer import Scorer
from healthrisk.inference.shapley import Explainer
from healthrisk.spec import FAMILIES

Make = Callable[..., Bundle]


@pytest.mark.parametrize("dataset", ["heart-disease", "obesity"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_base_and_values_add_up_to_the_served_probability(bundle_of: Make, dataset: str, family: str) -> None:
    bundle = bundle_of(dataset, family)
    explainer, scorer = Explainer.of(bundle), Scorer(bundle)
    for row in parity.generate_rows(bundle.spec, 10, 3):
        explanation = explainer.explain(row)
        served = scorer.probabilities(row[None])[0]
        assert np.abs(explanation.base + explanation.values.sum(axis=0) - served).max() <= 1e-6
        assert np.abs(explanation.probability - served).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The set_:PendingDeprecationWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_those_of_the_shap_package(
    bundle_of: Make, heart: tuple[object, np.ndarray, np.ndarray], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiling its loops takes twelve seconds, running them as they stand less than one.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    import shap

    bundle, patients = bundle_of("heart-disease", family), heart[1][[0, 100, 200]]
    explainer, scorer = Explainer.of(bundle, rows=8, pairs=60), Scorer(bundle)
    # shap's masker takes no NaN for a value, and imputing is the first thing that the model does.
    filled = np.where(np.isnan(explainer.background), bundle.preprocessor.fill, explainer.background)
    exact = shap.ExactExplainer(lambda rows: scorer.probabilities(rows)[:, 1], shap.maskers.Independent(filled))
    expected = exact(patients, max_evals=2**14, silent=True)
    for patient, base, values in zip(patients, expected.base_values, expected.values, strict=True):
        explanation = explainer.explain(patient)
        assert explanation.base[1] == pytest.approx(base, abs=1e-6)
        assert explanation.values[:, 1] == pytest.approx(values, abs=0.01)


def test_the_stated_error_covers_what_another_seed_finds(
    bundle_of: Make, heart: tuple[object, np.ndarray, np.ndarray]
) -> None:
    bundle, patients = bundle_of("heart-disease", "random_forest"), heart[1][::30]
    first, second = Explainer.of(bundle, seed=1), Explainer.of(bundle, rows=500, seed=2)
    inside = []
    for patient in patients:
        one, better = first.explain(patient), second.explain(patient)
        inside.append(np.abs(one.values - better.values) <= 2 * np.hypot(one.errors, better.errors) + 1e-9)
    assert np.mean(inside) >= 0.9


def test_no_pickle_is_read(bundle_of: Make, tmp_path: Path) -> None:
    original = bundle_of("heart-disease", "random_forest")

    def damage(folder: Path) -> Provenance:
        for name in original.manifest.files:
            shutil.copyfile(original.path / name, folder / name)
        for name in ("model.joblib", "preprocessor.joblib"):
            (folder / name).write_bytes(b"not a pickle")
        return Provenance.model_validate(original.manifest.model_dump(exclude={"format", "files"}))

    damaged = bundle_files.write(tmp_path, damage)
    row = parity.generate_rows(damaged.spec, 1, 0)[0]
    assert np.array_equal(Explainer.of(damaged).explain(row).values, Explainer.of(original).explain(row).values)


def test_the_background_has_the_reference_s_marginals(
    bundle_of: Make, heart: tuple[object, np.ndarray, np.ndarray]
) -> None:
    bundle = bundle_of("heart-disease", "logistic_regression")
    drawn = background.draw(bundle.spec, bundle.reference, 200, 0)
    patients = heart[1]
    for place, column in enumerate(bundle.spec.columns):
        known = patients[~np.isnan(patients[:, place]), place]
        values = drawn[~np.isnan(drawn[:, place]), place]
        if column.kind == "code":
            assert set(values) <= set(column.code_values.values())
        assert np.mean(values) == pytest.approx(np.mean(known), abs=0.12 * np.std(known)), column.name
        if column.kind == "integer":
            assert np.array_equal(values, np.round(values))
    assert not {tuple(row) for row in drawn} & {tuple(row) for row in patients}
