"""The registry's champions are served where nothing does, and stay champions where that fails."""

import pytest

from healthrisk.deployment import champions
from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.deploy import DeployError
from healthrisk.errors import ConfigError
from healthrisk.registry import versions
from tests.support.rollouts import NAME
from tests.support.twin_cluster import TwinCluster

pytestmark = pytest.mark.slow


def test_an_empty_cluster_serves_every_champion_once(registered: list[Deployed], urls: dict[str, str]) -> None:
    versions.client().create_registered_model("without-a-champion")
    cluster = TwinCluster()
    (said,) = champions.serve(cluster, lambda _: urls["second"])
    assert said.startswith(f"version 2 is served as {NAME}; it is ")
    assert cluster.deployed(NAME) == registered[1]
    assert cluster.routes == {NAME}
    (again,) = champions.serve(cluster, lambda _: urls["second"])
    assert again == f"version 2 is served as {NAME} already"
    assert cluster.applied == [(NAME, "2")]


def test_a_champion_that_does_not_come_up_stays_champion(registered: list[Deployed], urls: dict[str, str]) -> None:
    with pytest.raises(DeployError, match="version 2 of heart-disease was taken back"):
        list(champions.serve(TwinCluster(broken={"2"}), lambda _: urls["second"]))
    champion = versions.champion(NAME)
    assert champion
    assert champion.number == "2"


def test_a_model_without_a_champion_is_named_before_anything_is_touched(
    registered: list[Deployed], urls: dict[str, str]
) -> None:
    cluster = TwinCluster()
    with pytest.raises(ConfigError, match="no champion of 'obesity'"):
        list(champions.serve(cluster, lambda _: urls["second"], [NAME, "obesity"]))
    assert cluster.applied == []
