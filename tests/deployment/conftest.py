"""Two bundles that answer differently, the servers of both, and a registry in which they are versions 1 and 2."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed
from healthrisk.registry import versions
from tests.support.rollouts import BESIDE, NAME
from tests.support.servers import Pair
from tests.support.twin_cluster import TwinCluster
from tests.support.two_versions import register, served


@pytest.fixture(scope="package")
def bundles(make_bundle: Callable[..., Path]) -> list[Bundle]:
    """Two that answer differently."""
    return [Bundle.open(make_bundle(family=family)) for family in ("logistic_regression", "random_forest")]


@pytest.fixture(scope="package")
def pairs(bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    """The first and the second, served under the model's name, and the second as its challenger."""
    with served(bundles, tmp_path_factory.mktemp("servers")) as pairs:
        yield pairs


@pytest.fixture(scope="package")
def urls(pairs: dict[str, Pair]) -> dict[str, str]:
    """Where each transformer is."""
    return {key: pair.transformer.url for key, pair in pairs.items()}


@pytest.fixture(scope="package")
def metrics(pairs: dict[str, Pair]) -> dict[str, str]:
    """Where each transformer's metrics are."""
    return {key: pair.transformer.metrics for key, pair in pairs.items()}


@pytest.fixture
def registered(
    bundles: list[Bundle], empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Deployed]:
    """Both as versions 1 and 2 of a registry, the last of them champion."""
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_registry, tmp_path)}")
    return register(bundles)


@pytest.fixture
def twin(registered: list[Deployed]) -> TwinCluster:
    """A champion, and beside it a challenger with the alias that says so."""
    versions.make_champion(NAME, "1")
    versions.make_challenger(NAME, "2")
    return TwinCluster({NAME: (registered[0], None), BESIDE: (registered[1], None)}, {NAME})
