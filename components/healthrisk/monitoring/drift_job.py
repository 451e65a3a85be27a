"""What the drift job does: push each served model's drift from its training data as gauges, and retrain where an alert
asks for it.

What is served is read from Prometheus, and what it was trained on from the registry's champion.
"""

import tempfile
from pathlib import Path

from pydantic import Field

from healthrisk.bundle import store
from healthrisk.documents import Document
from healthrisk.monitoring import drift, gauges, traffic
from healthrisk.monitoring.retrain import retrain
from healthrisk.registry import versions

_SERVED = "group by (model, digest) (healthrisk_model_info)"
# A rule that retraining answers bears this label.
_ASKED = 'group by (model, version) (ALERTS{alertstate="firing", answer="retrain"})'


class DriftJobSummary(Document):
    """What was seen and done, by model: the verdict on its drift, and the retraining that an alert asked for.

    `failed` says by run what failed of late.
    """

    drift: dict[str, str]
    retraining: dict[str, str]
    failed: dict[str, str] = Field(default_factory=dict)


def push_drift(prometheus: str, gateway: str, window: str) -> dict[str, str]:
    """Compare each served champion's traffic with its reference and push gauges; return a verdict for each model.

    Raises:
        SourceError: Prometheus or the push gateway does not answer.
        StoreError: the registry or the bundle store does not.
    """
    verdicts = {}
    for sample in traffic.query(prometheus, _SERVED):
        model, digest = sample.metric["model"], sample.metric["digest"]
        champion = versions.champion(model)
        # Challengers, and versions that a rollout is about to end, are not what the registry answers for.
        if champion is None or champion.digest != digest:
            continue
        try:
            verdicts[model] = _compare(champion, model, prometheus, gateway, window)
        except traffic.NoTrafficError:
            verdicts[model] = f"no traffic within {window}"
    return verdicts


def trigger_retraining(prometheus: str, pipelines: str) -> dict[str, str]:
    """Start a retraining run for each version that a firing alert asks to retrain; return what was done, by model.

    Raises:
        SourceError: Prometheus does not answer.
        RetrainError: a run cannot be started.
    """
    asked = [sample.metric for sample in traffic.query(prometheus, _ASKED)]
    return {labels["model"]: retrain(pipelines, labels["model"], labels["version"]) for labels in asked}


def _compare(champion: versions.Registered, model: str, prometheus: str, gateway: str, window: str) -> str:
    with tempfile.TemporaryDirectory(prefix="healthrisk-drift-") as cache:
        bundle = store.fetch(champion.uri, champion.digest, Path(cache))
        report = drift.compare(bundle.reference, traffic.counts(bundle, prometheus, model, window))
    gauges.push(report, model, bundle.version, gateway)
    return ": ".join(filter(None, (report.verdict, ", ".join(report.drifting))))
