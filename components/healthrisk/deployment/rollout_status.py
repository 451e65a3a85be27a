"""What is said of a rollout: where it stands, what was seen, and what comes next."""

import datetime

from healthrisk.deployment.rollout_gates import Gate
from healthrisk.deployment.rollout_plan import WHOLE, Rollout
from healthrisk.documents import Document
from healthrisk.monitoring.trial_status import TrialStatus

# What is next where the challenger has all requests, and has had them long and well enough.
PROMOTE = "promote"


class RolloutStatus(Document):
    """Where a rollout stands, what was seen at the weight in force, and what was done or comes next, in words.

    `agreement` is how the challenger's answers lie beside those that the champion gives to the same rows.
    """

    model: str
    rollout: Rollout
    gates: tuple[Gate, ...] = ()
    agreement: TrialStatus | None = None
    next: str


def now() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.UTC)


def held_seconds(current: Rollout) -> float:
    """Return how long the weight in force has been so."""
    return (now() - current.since).total_seconds()


def may_go_on(current: Rollout, gates: tuple[Gate, ...]) -> bool:
    """Say whether a weight was held long enough, and every gate passed."""
    return held_seconds(current) >= current.plan.hold_seconds and all(gate.verdict == "passed" for gate in gates)


def in_force(current: Rollout) -> str:
    """Say which weight is in force, and for how long it is still held."""
    left = max(0.0, current.plan.hold_seconds - held_seconds(current))
    weight = f"{current.weight} % of requests" if current.weight else "mirrored requests"
    return f"version {current.challenger.number} has {weight}, held for {left:.0f} s more"


def next_move(current: Rollout, gates: tuple[Gate, ...]) -> str:
    """Say what comes next, and what it waits for."""
    if current.phase == "returned":
        return f"version {current.champion.number} has all requests: {current.reason}"
    if current.phase != "weighing":
        return "run promote again"
    if not may_go_on(current, gates):
        waiting = [f"{gate.name}: {gate.seen}" for gate in gates if gate.verdict != "passed"]
        return "; ".join([in_force(current), *waiting])
    return PROMOTE if current.weight == WHOLE else f"{current.plan.weights[current.place + 1]} % of requests"
