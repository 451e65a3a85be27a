"""The next version comes in by weights, each held until what is seen allows the next; else it goes back by itself.

All state lies in the model's way in, of which every move is one write: a command that was killed is run again, and goes
on where the last one stood. In between, requests go to servers that are ready and proven, whichever version's.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from healthrisk.bundle import store
from healthrisk.config import settings
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, ClusterError, Deployed, RolloutMovedError, challenger_name
from healthrisk.deployment.rollout_gates import Gate
from healthrisk.deployment.rollout_plan import WHOLE, Plan, Rollout
from healthrisk.deployment.rollout_status import RolloutStatus, held_seconds, in_force, may_go_on, next_move, now
from healthrisk.errors import HealthriskError, StoreError
from healthrisk.records.lines import ActionEvent
from healthrisk.registry import retirement, versions
from healthrisk.registry.registration import Registration

# A new pod, or one whose node has gone, is given so long before its version is sent back.
GRACE_SECONDS = 60.0
# The gateway takes in a route within seconds; its proxies know of it a moment later.
ROUTED_SECONDS, SETTLED_SECONDS = 60.0, 5.0
_log = logging.getLogger("healthrisk.rollout")
Look = Callable[[str, Rollout, float], tuple[Gate, ...]]


class RolloutError(HealthriskError):
    """A rollout cannot be begun, moved or ended as was asked."""


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for servers, for the gateway, and for its proxies."""

    ready: float = deploy.READY_SECONDS
    grace: float = GRACE_SECONDS
    routed: float = ROUTED_SECONDS
    settled: float = SETTLED_SECONDS


def start(cluster: Cluster, model: str, number: str, plan: Plan, patience: Patience = Patience()) -> RolloutStatus:
    """Give the version that is served beside the champion the first of its weights.

    Raises:
        RolloutError: another rollout is under way, or the version is not the one that is served beside the champion.
        ClusterError: its servers are not ready, or the site has no gateway.
    """
    before = cluster.rollout(model)
    if before and before.is_under_way:
        raise RolloutError(
            f"version {before.challenger.number} of {model} is being rolled out: promote or abort it first"
        )
    champion, challenger = cluster.deployed(model), cluster.deployed(challenger_name(model))
    if champion is None:
        raise RolloutError(f"no version of {model} is served: the first is deployed, not rolled out")
    if challenger is None:
        raise RolloutError(f"no version of {model} is served beside version {champion.number}, the champion")
    if challenger.number != number:
        raise RolloutError(
            f"version {number!r} of {model} is not served beside the champion: version {challenger.number} is"
        )
    if challenger.digest == champion.digest:
        raise RolloutError(f"version {number} of {model} is the champion already")
    retirement.refuse_number(model, number)
    cluster.wait(challenger_name(model), challenger, patience.grace)
    begun = Rollout(champion=champion, challenger=challenger, plan=plan, since=now())
    cluster.share(model, before, begun)
    _tell(model, challenger, f"rolling out: {begun.weight} % of requests")
    return RolloutStatus(model=model, rollout=begun, next=in_force(begun))


def begin(cluster: Cluster, registration: Registration, weights: str) -> str:
    """Start the rollout that a version awaits, unless it is under way already; return what was done, in words.

    Raises:
        ConfigError: the weights cannot be used.
        RolloutError: another rollout is under way.
        ClusterError: its servers are not ready, or the site has no gateway.
    """
    model, number, plan = registration.name, registration.version, Plan.of(weights)
    current = cluster.rollout(model)
    if current and current.is_under_way and current.challenger.digest == registration.digest:
        return look(cluster, model, None).next
    command = f"python -m healthrisk rollout step --wait --dataset {model} --prometheus URL"
    return f"{start(cluster, model, number, plan).next}; what moves it on, or back, is {command}"


def look(cluster: Cluster, model: str, judge: Look | None) -> RolloutStatus:
    """Return where a rollout stands, and move nothing; without a judge the gates are not looked at.

    Raises:
        RolloutError: none is recorded.
    """
    current = cluster.rollout(model)
    if current is None:
        raise RolloutError(f"no rollout of {model} is under way")
    if current.phase == "weighing" and judge is None:
        return RolloutStatus(model=model, rollout=current, next=in_force(current))
    gates = judge(model, current, held_seconds(current)) if judge and current.phase == "weighing" else ()
    return RolloutStatus(model=model, rollout=current, gates=gates, next=next_move(current, gates))


def step(cluster: Cluster, model: str, judge: Look, patience: Patience = Patience()) -> RolloutStatus:
    """Look at a rollout, and give the challenger its next weight, or none, or leave it where it is.

    Raises:
        RolloutError: none is under way, or it is being promoted.
        RolloutMovedError: somebody else moved it meanwhile.
        StoreError: the registry does not say whether the challenger was retired; it keeps its weight.
    """
    current = _weighing(cluster, model)
    if fault := _fault(cluster, model, current, patience):
        return _return(cluster, model, current, fault)
    gates = judge(model, current, held_seconds(current))
    if failed := [gate for gate in gates if gate.verdict == "failed"]:
        return _return(cluster, model, current, "; ".join(f"{gate.name}: {gate.seen}" for gate in failed), gates)
    # Last: where the registry is away, what fails goes back all the same.
    if retired := retirement.reason(model, current.challenger.number):
        return _return(cluster, model, current, retired, gates)
    if not may_go_on(current, gates) or current.weight == WHOLE:
        return RolloutStatus(model=model, rollout=current, gates=gates, next=next_move(current, gates))
    moved = current.next_weight(now())
    cluster.share(model, current, moved)
    _tell(model, moved.challenger, f"rolling out: {moved.weight} % of requests")
    return RolloutStatus(model=model, rollout=moved, gates=gates, next=in_force(moved))


def abort(cluster: Cluster, model: str, reason: str = "by hand", patience: Patience = Patience()) -> RolloutStatus:
    """Give everything to the champion again, in one write; where the challenger was being promoted, undo that first.

    Raises:
        RolloutError: none is under way, or the challenger is the champion already.
        RetiredError: the champion's servers have gone, and it was retired meanwhile; all stays as it is.
    """
    while True:
        current = _under_way(cluster, model)
        if current.phase == "closing":
            raise RolloutError(
                f"version {current.challenger.number} of {model} is the champion: promote ends its rollout"
            )
        if current.phase == "promoting":
            retirement.refuse_number(model, current.champion.number)
            deploy.serve(cluster, model, current.champion, None, patience.ready)
            versions.make_champion(model, current.champion.number)
            if not retirement.reason(model, current.challenger.number):
                versions.make_challenger(model, current.challenger.number)
        try:
            return _return(cluster, model, current, reason)
        except RolloutMovedError:
            _log.info("the rollout was moved meanwhile; aborting what it is now")


def promote(cluster: Cluster, model: str, judge: Look, url: str, patience: Patience = Patience()) -> RolloutStatus:
    """Make the challenger, which has all requests, the champion: its alias, and the servers of the champion's name.

    It keeps all requests on its own servers until those of the champion's name have answered its golden rows, at `url`.
    Run again after a kill or a fault, it goes on where it stood.

    Raises:
        RolloutError: none is under way, or the challenger has not got all requests, or not long and well enough.
        RetiredError: the challenger was retired.
        HealthriskError: a server does not come up or answers otherwise; all requests stay where they are.
    """
    current = _under_way(cluster, model)
    if current.phase != "closing":
        retirement.refuse_number(model, current.challenger.number)
    if current.phase == "weighing":
        _require_whole(cluster, model, current, judge, patience)
        cluster.share(model, current, current := current.entering("promoting", now()))
    number = current.challenger.number
    if current.phase == "promoting":
        versions.make_champion(model, number)
        deploy.serve(cluster, model, current.challenger, current.champion, patience.ready)
        bundle = store.fetch(current.challenger.bundle, current.challenger.digest, settings().home / "cache")
        deploy.replay(bundle, url, bundle.spec)
        cluster.share(model, current, current := current.entering("closing", now()))
    cluster.wait_routed(model, patience.routed)
    time.sleep(patience.settled)
    cluster.delete(challenger_name(model))
    cluster.open_route(model)
    _tell(model, current.challenger, "serving", "promoted")
    return RolloutStatus(model=model, rollout=current, next=f"version {number} is the champion, and has all requests")


def _require_whole(cluster: Cluster, model: str, current: Rollout, judge: Look, patience: Patience) -> None:
    number = current.challenger.number
    if current.weight != WHOLE:
        raise RolloutError(
            f"version {number} of {model} has {current.weight} % of requests: promote takes one that has all"
        )
    if fault := _fault(cluster, model, current, patience):
        raise RolloutError(f"version {number} of {model} is not promoted: {fault}")
    gates = judge(model, current, held_seconds(current))
    if not may_go_on(current, gates):
        raise RolloutError(f"version {number} of {model} is not promoted: {next_move(current, gates)}")


def _tell(model: str, version: Deployed, what: str, event: ActionEvent = "rollout") -> None:
    """Write on the registered version what became of it; the requests go where they go whether that succeeds or not."""
    try:
        deploy.record(model, version, what, event)
    except StoreError as error:
        _log.warning("the registry was not told that version %s is %s: %s", version.number, what, error)


def _return(cluster: Cluster, model: str, current: Rollout, reason: str, gates: tuple[Gate, ...] = ()) -> RolloutStatus:
    # The way in first: the registry only tells of it.
    returned = current.entering("returned", now(), reason)
    cluster.share(model, current, returned)
    _tell(model, current.challenger, f"rolled back: {reason}", "rolled-back")
    return RolloutStatus(model=model, rollout=returned, gates=gates, next=next_move(returned, gates))


def _under_way(cluster: Cluster, model: str) -> Rollout:
    current = cluster.rollout(model)
    if current is None or not current.is_under_way:
        raise RolloutError(f"no rollout of {model} is under way")
    return current


def _weighing(cluster: Cluster, model: str) -> Rollout:
    current = _under_way(cluster, model)
    if current.phase != "weighing":
        raise RolloutError(f"version {current.challenger.number} of {model} is being promoted: run promote again")
    return current


def _fault(cluster: Cluster, model: str, current: Rollout, patience: Patience) -> str:
    """Return why the challenger cannot keep its requests, whatever it has answered so far; empty if it can."""
    for service, version in ((model, current.champion), (challenger_name(model), current.challenger)):
        served = cluster.deployed(service)
        if served is None or served.digest != version.digest:
            return f"{service} does not serve version {version.number} any more"
    try:
        cluster.wait(challenger_name(model), current.challenger, patience.grace)
    except ClusterError as error:
        return str(error)
    return ""
