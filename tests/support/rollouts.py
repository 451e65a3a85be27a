"""A rollout of version 2 on a cluster in memory, in the words of the tests that move it."""

from collections.abc import Callable

from healthrisk.deployment import rollout
from healthrisk.deployment.rollout import Patience
from healthrisk.deployment.rollout_gates import Gate, Verdict
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.registry import versions
from tests.support.twin_cluster import TwinCluster

NAME = "heart-disease"
BESIDE = f"{NAME}-challenger"
SOON = Patience(ready=1, grace=0, routed=0, settled=0)
AT_ONCE = Plan(hold_seconds=0)


def gates(errors: Verdict = "passed") -> Callable[..., tuple[Gate, ...]]:
    return lambda *_: (Gate(name="errors", verdict=errors, seen="3 of 100, where 0.10% may"),)


def begin(twin: TwinCluster, plan: Plan = AT_ONCE) -> Rollout:
    return rollout.start(twin, NAME, "2", plan, SOON).rollout


def step(twin: TwinCluster, errors: Verdict = "passed") -> rollout.RolloutStatus:
    return rollout.step(twin, NAME, gates(errors), SOON)


def aliases() -> tuple[str | None, str | None]:
    aliased = [versions.by_alias(NAME, alias) for alias in (versions.CHAMPION, versions.CHALLENGER)]
    return tuple(one.number if one else None for one in aliased)  # type: ignore[return-value]


def told() -> str:
    return str(versions.client().get_model_version(NAME, "2").tags["deployment"])


def whole(twin: TwinCluster) -> None:
    begin(twin, Plan(hold_seconds=0, weights=(100,)))
