"""Requests that flow through a real Envoy while a rollout moves, is promoted and aborted: none is lost or changed."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import rollout
from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.rollout import Patience
from healthrisk.deployment.rollout_plan import Plan
from tests.support import http
from tests.support.envoy import ProxiedCluster
from tests.support.flow import LOOKED_AT, NAME, STICKY, Traffic, flowing, proxied
from tests.support.patience import ANSWER, until

pytestmark = pytest.mark.slow

SOON = Patience(ready=ANSWER, grace=ANSWER, routed=ANSWER, settled=0)


@pytest.fixture
def cluster(urls: dict[str, str], registered: list[Deployed], tmp_path: Path) -> Iterator[ProxiedCluster]:
    with proxied(urls, registered, tmp_path / "envoy") as twin:
        yield twin


@pytest.fixture
def traffic(cluster: ProxiedCluster, bundles: list[Bundle], urls: dict[str, str]) -> Iterator[Traffic]:
    with flowing(cluster, bundles[0], urls) as asking:
        yield asking


def move(cluster: ProxiedCluster, act: Callable[..., object], *words: object) -> None:
    act(cluster, NAME, *words, patience=SOON)
    cluster.wait_routed(NAME, ANSWER)


def share(seen: Counter[tuple[str, str]], caller: str = "") -> float:
    """Return the challenger's share of the answers to some callers."""
    return seen[caller, "2"] / (seen[caller, "1"] + seen[caller, "2"])


def passed(*_: object) -> tuple[()]:
    return ()


def test_no_request_is_lost_or_changed_while_the_next_version_comes_in(
    cluster: ProxiedCluster, traffic: Traffic, urls: dict[str, str]
) -> None:
    assert share(traffic.look()) == 0
    move(cluster, rollout.start, "2", Plan(hold_seconds=0, weights=(1, 10, 50, 100), sticky="x-caller"))
    # Six standard deviations of so many answers, and none of who has sent the header.
    for weight, spread in ((0.01, 0.03), (0.1, 0.09), (0.5, 0.15)):
        seen = traffic.look()
        assert abs(share(seen) - weight) < spread
        assert [share(seen, caller) for caller in STICKY] == [1, 0]
        move(cluster, rollout.step, passed)
    assert {share(traffic.look(), caller) for caller in ("", *STICKY)} == {1}
    rollout.promote(cluster, NAME, passed, urls["second"], SOON)
    cluster.wait_routed(NAME, ANSWER)
    assert {share(traffic.look(), caller) for caller in ("", *STICKY)} == {1}
    assert set(cluster.services) == {NAME}


def test_none_is_lost_or_changed_while_it_goes_back(cluster: ProxiedCluster, traffic: Traffic) -> None:
    for weights in ((50, 100), (100,), (10, 100)):
        move(cluster, rollout.start, "2", Plan(hold_seconds=0, weights=weights, sticky="x-caller"))
        assert share(traffic.look()) > 0
        move(cluster, rollout.abort, "by hand")
        assert {share(traffic.look(), caller) for caller in ("", *STICKY)} == {0}


def test_mirrored_requests_reach_the_challenger_and_are_answered_by_the_champion(
    cluster: ProxiedCluster, traffic: Traffic, metrics: dict[str, str]
) -> None:
    def mirrored() -> float:
        lines = [
            line
            for line in http.get(metrics["beside"]).text.splitlines()
            if line.startswith("prediction_requests_total")
        ]
        return sum(float(line.split()[-1]) for line in lines)

    before = mirrored()
    move(cluster, rollout.start, "2", Plan(hold_seconds=0, weights=(0, 100)))
    assert {share(traffic.look(), caller) for caller in ("", *STICKY)} == {0}
    until(lambda: mirrored() - before >= LOOKED_AT)


def test_it_is_the_proxy_that_the_gateway_runs(root: Path) -> None:
    pinned = (root / "tests" / "envoy" / "requirements.in").read_text().split("==")[1].strip()
    assert (
        f"\nIMAGE_envoy=docker.io/envoyproxy/envoy:distroless-v{pinned}\n"
        in (root / "kind" / "versions.env").read_text()
    )
