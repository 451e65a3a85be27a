"""What a step of a rollout must show before the next: errors, time, drift, and enough requests to say so."""

from dataclasses import dataclass
from typing import Literal

from scipy import stats

from healthrisk.bundle import store
from healthrisk.config import settings
from healthrisk.deployment.cluster import challenger_name
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.documents import Document
from healthrisk.monitoring import service_health, traffic, trial_status
from healthrisk.monitoring.drift import DriftReport
from healthrisk.monitoring.service_health import ServiceHealth
from healthrisk.monitoring.trial_status import TrialStatus

# How often a challenger that keeps to a limit is sent back for it, at each look.
FALSE_ALARMS = 0.001
Verdict = Literal["passed", "failed", "inconclusive"]


class Gate(Document):
    """One thing that was looked at, what of it was seen, and whether it lets the challenger go on."""

    name: str
    verdict: Verdict
    seen: str


@dataclass(frozen=True)
class PrometheusGates:
    """Asks one Prometheus how a challenger has answered since its weight is in force."""

    prometheus: str

    def __call__(self, model: str, rollout: Rollout, seconds: float) -> tuple[Gate, ...]:
        """Return the gates of the weight in force, which has been so for some seconds.

        Raises:
            SourceError: Prometheus does not answer.
            StoreError: the bundle store does not.
        """
        bundle = store.fetch(rollout.challenger.bundle, rollout.challenger.digest, settings().home / "cache")
        service = challenger_name(model)
        own = service_health.read(self.prometheus, service, seconds, bundle.version)
        every = service_health.read(self.prometheus, model, seconds)
        try:
            report = service_health.drift_of(bundle, self.prometheus, service, seconds)
        except traffic.NoTrafficError:
            return judge(own, every, rollout.plan)
        return *judge(own, every, rollout.plan), judge_drift(report)

    def agreement(self, model: str, rollout: Rollout) -> TrialStatus | None:
        """Return how the challenger's answers lie beside the champion's, or None where nobody compares them.

        Raises:
            SourceError: Prometheus does not answer.
        """
        return trial_status.on_cluster(self.prometheus, model, rollout.champion.version, rollout.challenger.version)


def judge(challenger: ServiceHealth, champion: ServiceHealth, plan: Plan) -> tuple[Gate, ...]:
    """Return the gates on what a challenger's answers were; what the champion suffers, too, is not its fault."""
    asked = challenger.requests
    return (
        Gate(
            name="requests",
            verdict="passed" if asked >= plan.requests else "inconclusive",
            seen=f"{asked} of {plan.requests}",
        ),
        _share("errors", challenger.failed, asked, max(plan.failed, _of(champion.failed, champion))),
        _share("latency", challenger.slow, asked, max(plan.slow, _of(champion.slow, champion))),
    )


def judge_drift(report: DriftReport) -> Gate:
    """Return the gate on a challenger's rows and answers; strong drift that chance may have made is waited for."""
    strong = [shift.adjusted for shift in report.shifts if shift.verdict == "strong"]
    verdict: Verdict = "passed"
    if strong:
        verdict = "failed" if min(strong) < FALSE_ALARMS else "inconclusive"
    seen = ": ".join(filter(None, (report.verdict, ", ".join(report.drifting))))
    return Gate(name="drift", verdict=verdict, seen=seen)


def _of(bad: int, health: ServiceHealth) -> float:
    return bad / health.requests if health.requests else 0.0


def _share(name: str, bad: int, requests: int, limit: float) -> Gate:
    """Fail where so many would be bad by chance in fewer than one of a thousand looks, were the share at its limit."""
    verdict: Verdict = "passed" if bad <= limit * requests else "inconclusive"
    if bad and float(stats.binom.sf(bad - 1, requests, limit)) < FALSE_ALARMS:
        verdict = "failed"
    return Gate(name=name, verdict=verdict, seen=f"{bad} of {requests}, where {limit:.2%} may")
