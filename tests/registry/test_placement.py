"""Champions, challengers and idempotence, in a real MLflow registry on SQLite."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from healthrisk import spec as specs
from healthrisk.bundle import FILES, Bundle, bundle, store
from healthrisk.bundle.classifier import LINEAR
from healthrisk.bundle.manifest import Provenance
from healthrisk.bundle.parity import generate_rows
from healthrisk.bundle.signature import SignatureError
from healthrisk.registry import placement, versions
from healthrisk.registry.comparison import Comparison
from healthrisk.spec import DatasetSpec
from healthrisk.training.preprocessing import fit
from tests.support import sample_bundle
from tests.support.signing import key_pair

pytestmark = pytest.mark.slow

SPEC = specs.load("heart-disease")
Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


def built(folder: Path, mark: str) -> Bundle:
    """A bundle that differs from others by a mark."""
    preprocessor = fit(SPEC, generate_rows(SPEC, 50, 0))[1]

    def fill(path: Path) -> Provenance:
        for name in (*FILES, LINEAR):
            (path / name).write_text(mark)
        (path / "spec.json").write_text(SPEC.to_json())
        (path / "preprocessor.json").write_text(preprocessor.to_json())
        return sample_bundle.provenance(SPEC.name, "random_forest")

    return bundle.write(folder / "bundles" / SPEC.name, fill)


def gaining(low: float) -> Comparison:
    """A comparison whose gain is at least so much."""
    return Comparison(rows=100, champion=0.5, challenger=0.4, gain=0.1, low=low, high=0.2)


def register(where: Path, mark: str, comparison: Comparison | str = "nothing to compare") -> versions.Registered:
    return standing(where, mark, comparison)[0]


def standing(
    where: Path, mark: str, comparison: Comparison | str, *, by_rollout: bool = False
) -> tuple[versions.Registered, placement.Standing]:
    made = built(where, mark)
    run = versions.client().create_run("0").info.run_id
    decision = sample_bundle.decision(SPEC, "random_forest", 0.4)
    return placement.register_bundle(made, made.path.as_uri(), decision, run, comparison, by_rollout=by_rollout)


def test_without_a_registry_one_is_made_by_who_registers(where: Path) -> None:
    (where / "mlflow.db").unlink()
    assert register(where, "a") == versions.champion(SPEC.name)


def test_the_first_version_is_champion_and_points_at_its_bundle(where: Path) -> None:
    version = register(where, "a")
    champion = versions.champion(SPEC.name)
    assert champion == version
    assert Bundle.open(Path(champion.uri.removeprefix("file://")), champion.digest).digest == version.digest


def test_a_version_that_is_not_shown_to_be_better_is_challenger_and_the_champion_stays(where: Path) -> None:
    first, second = register(where, "a"), register(where, "b", gaining(-0.01))
    assert second.aliases == ("challenger",)
    assert versions.champion(SPEC.name) == first


@pytest.mark.parametrize("comparison", [gaining(0.01), "its classes differ"])
def test_a_better_version_or_one_of_another_spec_replaces_the_champion(
    where: Path, comparison: Comparison | str
) -> None:
    register(where, "a")
    second = register(where, "b", comparison)
    assert versions.champion(SPEC.name) == second


def test_a_better_version_that_is_to_be_rolled_out_is_challenger_until_then(where: Path) -> None:
    first, stands = standing(where, "a", "nothing to compare", by_rollout=True)
    assert (first.aliases, stands.awaits_rollout) == (("champion",), False)
    for comparison in (gaining(0.01), "its classes differ"):
        better, stands = standing(where, "b", comparison, by_rollout=True)
        assert (better.aliases, stands.alias, stands.awaits_rollout) == (("challenger",), "challenger", True)
        assert stands.reason.startswith("until it is rolled out; ")
    _, stands = standing(where, "c", gaining(-0.01), by_rollout=True)
    assert (stands.alias, stands.awaits_rollout) == ("challenger", False)
    assert versions.champion(SPEC.name) == first


def test_an_unsigned_champion_is_signed_or_retired_before_another_takes_its_place(
    where: Path, bundle_of: Callable[..., Bundle], heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, matrix, y = heart
    unsigned = bundle_of("heart-disease", "logistic_regression")
    made = Bundle.open(Path(shutil.copytree(unsigned.path, where / unsigned.path.name)))
    decision = sample_bundle.decision(spec, "logistic_regression", 0.4)
    placement.register_bundle(made, made.path.as_uri(), decision, "", "nothing to compare")
    answers = np.full((len(y), 2), 0.5)
    # From now on one believes a key.
    monkeypatch.setenv("HEALTHRISK_BUNDLE_PUBLIC_KEY", key_pair().public)
    with pytest.raises(SignatureError, match=f"is unsigned.*; sign it by .*{made.path.as_uri()}`, or retire version 1"):
        placement.compare_with_champion(spec, (matrix, y), answers)
    store.sign(made.path.as_uri(), key_pair().private)
    assert isinstance(placement.compare_with_champion(spec, (matrix, y), answers), Comparison)


def test_the_same_bundle_is_one_version(where: Path) -> None:
    first, again = register(where, "a"), register(where, "a", gaining(-0.01))
    assert first == again
    assert len(versions.client().search_model_versions(f"name = '{SPEC.name}'")) == 1


def test_a_challenger_that_becomes_better_loses_its_old_alias(where: Path) -> None:
    register(where, "a")
    register(where, "b", gaining(-0.01))
    version = register(where, "b", gaining(0.01))
    assert version.aliases == ("champion",)
