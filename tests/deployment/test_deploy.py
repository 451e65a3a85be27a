"""Deploying, taking back, comparing and rolling back, on a cluster in memory: servers and registry are real."""

import dataclasses

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.deployment.deploy import DeployError
from healthrisk.records import actor
from healthrisk.registry import retirement, versions
from tests.support.records import done_to
from tests.support.twin_cluster import TwinCluster

pytestmark = pytest.mark.slow

NAME = "heart-disease"
BESIDE = f"{NAME}-challenger"


def deployment_of(number: str) -> str:
    return str(versions.client().get_model_version(NAME, number).tags["deployment"])


def champion() -> str | None:
    registered = versions.champion(NAME)
    return registered.number if registered else None


def test_a_proven_version_is_let_in(bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]) -> None:
    cluster: Cluster = TwinCluster()
    deploy.champion(cluster, bundles[0], registered[0], urls["first"])
    assert cluster.deployed(NAME) == registered[0]
    assert cluster.routes == {NAME}
    assert deployment_of("1") == "serving"


def test_the_first_version_that_never_comes_up_leaves_nothing(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster(broken={"2"})
    with pytest.raises(
        DeployError, match=r"version 2 of heart-disease was taken back: .* 0 of 1 .*; nothing is served"
    ):
        deploy.champion(cluster, bundles[1], registered[1], urls["second"])
    assert cluster.services == {}
    assert cluster.routes == set()
    assert champion() is None
    assert deployment_of("2").startswith("rolled back: ")


def test_a_version_that_never_comes_up_gives_way_to_the_one_before(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster(broken={"2"})
    deploy.champion(cluster, bundles[0], registered[0], urls["first"])
    with pytest.raises(DeployError, match="version 1 serves again"):
        deploy.champion(cluster, bundles[1], registered[1], urls["first"])
    assert cluster.deployed(NAME) == registered[0]
    assert cluster.applied == [(NAME, "1"), (NAME, "2"), (NAME, "1")]
    assert cluster.routes == {NAME}
    assert champion() == "1"
    assert (deployment_of("1"), deployment_of("2")[:11]) == ("serving", "rolled back")


def test_requests_go_back_though_the_registry_is_away(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = TwinCluster({NAME: (registered[0], None)}, {NAME}, broken={"2"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    says = r"0 of 1 .*; version 1 serves again, but the registry did not do its part: .*127\.0\.0\.1:9"
    with pytest.raises(DeployError, match=f"version 2 of heart-disease was taken back: .*{says}"):
        deploy.champion(cluster, bundles[1], registered[1], urls["second"])
    assert (cluster.deployed(NAME), cluster.routes) == (registered[0], {NAME})
    assert [done_to(number)[0][0] for number in ("2", "1")] == ["rolled-back", "deployed"]


def test_a_retired_version_takes_no_place_back(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster({NAME: (registered[0], None)}, {NAME}, broken={"2"})
    retirement.retire(NAME, "1", "wrong for women", "somebody")
    says = "; nothing is served: version 1 of heart-disease is retired: wrong for women"
    with pytest.raises(DeployError, match=f"version 2 of heart-disease was taken back: .*{says}"):
        deploy.champion(cluster, bundles[1], registered[1], urls["second"])
    assert (cluster.services, cluster.routes, champion()) == ({}, set(), None)
    assert cluster.applied == [(NAME, "2")]
    assert [event for event, _ in done_to("2")] == ["rolled-back"]


def test_a_version_that_answers_otherwise_gives_way_to_the_one_before(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster()
    deploy.champion(cluster, bundles[0], registered[0], urls["first"])
    expected = dataclasses.replace(bundles[1])
    rows = bundles[1].golden.probability
    vars(expected)["golden"] = bundles[1].golden.model_copy(update={"probability": rows[::-1]})
    with pytest.raises(DeployError, match="away from what was trained; version 1 serves again"):
        deploy.champion(cluster, expected, registered[1], urls["second"])
    assert cluster.deployed(NAME) == registered[0]
    assert champion() == "1"


def test_the_version_before_is_not_taken_for_the_new_one(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = TwinCluster()
    deploy.champion(cluster, bundles[0], registered[0], urls["first"])
    monkeypatch.setattr(deploy, "REACHED_WITHIN", 0)
    # What answers at the address is a pod of the first version still.
    with pytest.raises(DeployError, match=r"the server answered 404: .*; version 1 serves again"):
        deploy.champion(cluster, bundles[1], registered[1], urls["first"])
    assert champion() == "1"


def test_deploying_again_keeps_the_version_before(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster({NAME: (registered[1], registered[0])})
    deploy.champion(cluster, bundles[1], registered[1], urls["second"])
    assert cluster.services[NAME] == (registered[1], registered[0])


def test_a_challenger_is_compared_and_has_no_way_in(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster({NAME: (registered[0], None)}, {NAME})
    asked = {"champion": urls["first"], "challenger": urls["beside"]}
    figures = deploy.challenger(cluster, bundles[1], registered[1], asked)
    assert cluster.deployed(NAME) == registered[0]
    assert cluster.deployed(BESIDE) == registered[1]
    assert cluster.routes == {NAME}
    assert 0 < figures["mean_difference"] <= figures["largest_difference"] < 1
    tags = versions.client().get_model_version(NAME, "2").tags
    assert {name: float(tags[name]) for name in figures} == figures


def test_a_challenger_that_never_comes_up_is_removed(
    bundles: list[Bundle], urls: dict[str, str], registered: list[Deployed]
) -> None:
    cluster = TwinCluster({NAME: (registered[0], None)}, {NAME}, broken={"2"})
    asked = {"champion": urls["first"], "challenger": urls["beside"]}
    with pytest.raises(DeployError, match="version 2 was not served beside the champion: "):
        deploy.challenger(cluster, bundles[1], registered[1], asked)
    assert set(cluster.services) == {NAME}
    assert deployment_of("2").startswith("removed: ")


def test_roll_back(registered: list[Deployed]) -> None:
    cluster = TwinCluster({NAME: (registered[1], registered[0])}, {NAME})
    assert deploy.rollback(cluster, NAME) == (registered[1], registered[0])
    assert cluster.services[NAME] == (registered[0], None)
    assert cluster.routes == {NAME}
    assert champion() == "1"
    assert (done_to("2"), done_to("1")) == ([("rolled-back", "by hand")], [("deployed", "serving")])
    assert versions.client().get_model_version(NAME, "2").tags["deployment.by"] == actor.current()
    with pytest.raises(DeployError, match="there is no previous version to go back to"):
        deploy.rollback(cluster, NAME)
