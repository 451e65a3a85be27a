"""The way in of a model whose requests two versions share: the site's own route with both versions' servers."""

import datetime
import re
from pathlib import Path
from typing import Any

import pytest

from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.kubernetes_cluster import in_likeness
from healthrisk.deployment.rollout_plan import Phase, Plan, Rollout
from healthrisk.deployment.weighted_route import digits, weighted

NAME, BESIDE = "heart-disease", "heart-disease-challenger"
TEMPLATE = (Path(__file__).parents[2] / "manifests" / "gateway" / "route" / "http-route.yaml").read_text()
Document = dict[str, Any]


def template(name: str = NAME) -> Document:
    (route,) = in_likeness(TEMPLATE, name, "healthrisk")
    return route


def route(weight: int, phase: Phase = "weighing", sticky: str = "") -> Document:
    plan = Plan(weights=tuple(sorted({weight, 100})), sticky=sticky)
    versions = {
        name: Deployed(number, "s3://bundles/x", "d" * 64) for name, number in (("champion", "1"), ("challenger", "2"))
    }
    now = datetime.datetime.now(datetime.UTC)
    return weighted(template(), template(BESIDE), Rollout(**versions, plan=plan, phase=phase, since=now))


@pytest.mark.parametrize("weight", [1, 10, 50, 100])
def test_every_rule_is_shared_alike(weight: int) -> None:
    shared = route(weight)
    for own, rule in zip(template()["spec"]["rules"], shared["spec"]["rules"], strict=True):
        (backend,) = own["backendRefs"]
        other = {**backend, "name": backend["name"].replace(NAME, BESIDE)}
        assert rule == {
            **own,
            "backendRefs": [{**backend, "weight": 100 - weight}, {**other, "weight": weight}],
        }


def test_of_the_weight_0_every_request_is_mirrored() -> None:
    for rule in route(0)["spec"]["rules"]:
        champion, challenger = rule["backendRefs"]
        assert (champion["weight"], challenger["weight"]) == (100, 0)
        (mirror,) = rule["filters"]
        assert mirror["type"] == "RequestMirror"
        backend = {"name": challenger["name"], "port": challenger["port"]}
        assert mirror["requestMirror"] == {"backendRef": backend}


@pytest.mark.parametrize("phase", ["closing", "returned"])
def test_once_it_is_over_the_route_is_the_templates(phase: Phase) -> None:
    assert route(50, phase, sticky="x-caller") == template()


def test_while_it_is_promoted_the_challenger_has_everything() -> None:
    assert route(50, "promoting") == route(100)


def test_callers_with_the_header_stay_with_one_version() -> None:
    rules = route(10, sticky="x-caller")["spec"]["rules"]
    plain = route(10)["spec"]["rules"]
    # What the gateway calls a rule goes by its place.
    assert rules[: len(plain)] == plain
    added = rules[len(plain) :]
    for own, first, second in zip(plain, added[::2], added[1::2], strict=True):
        assert [backend["name"] for rule in (first, second) for backend in rule["backendRefs"]] == [
            own["backendRefs"][1]["name"],
            own["backendRefs"][0]["name"],
        ]
        for rule, value in ((first, digits(10)), (second, ".*[0-9a-fA-F]{2}")):
            asked = {"type": "RegularExpression", "name": "x-caller", "value": value}
            assert [match["headers"][-1] for match in rule["matches"]] == [asked] * len(own["matches"])
            assert [match["path"] for match in rule["matches"]] == [match["path"] for match in own["matches"]]


def test_the_share_of_callers_is_the_weight_and_only_grows() -> None:
    before: set[str] = set()
    for weight in range(1, 100):
        chosen = {cell for cell in map("{:02x}".format, range(256)) if re.fullmatch(digits(weight), f"caller-{cell}")}
        assert abs(len(chosen) / 256 - weight / 100) <= 0.5 / 256 + 1e-9
        assert before <= chosen
        assert all(re.fullmatch(digits(weight), cell.upper()) for cell in chosen)
        before = chosen


@pytest.mark.parametrize("weight", [0, 100])
def test_where_all_meet_the_same_version_no_header_is_asked_for(weight: int) -> None:
    assert route(weight, sticky="x-caller") == route(weight)


def test_the_rules_are_no_more_than_a_route_may_have() -> None:
    # Of Gateway API: 16 rules, each of 64 matches.
    rules = route(10, sticky="x-caller")["spec"]["rules"]
    assert len(rules) <= 16
    assert all(len(rule["matches"]) <= 64 for rule in rules)
