"""Retraining on Kubeflow Pipelines: what a model's schedule does at its time, started now.

Plain HTTP, since the process that watches needs three calls of the server and not its client.
"""

import json
from typing import Any

import httpx

from healthrisk.errors import HealthriskError

TIMEOUT = httpx.Timeout(30, connect=5)


class RetrainError(HealthriskError):
    """Kubeflow Pipelines does not answer, refuses, or has no schedule that says how to retrain a model."""


def schedule_name(model: str) -> str:
    """Return the name of a model's recurring run."""
    return f"retrain {model}"


def retrain(url: str, model: str, version: str) -> str:
    """Start the run that a model's schedule would start, once for each version; return what was done, in words.

    Raises:
        RetrainError: the server at `url` does not answer, refuses, or has no schedule of this model.
    """
    name = f"{schedule_name(model)}: drift of {version}"
    if _named(url, "runs", name):
        return f"run {name!r} was started before"
    schedules = _named(url, "recurringruns", schedule_name(model))
    if not schedules:
        raise RetrainError(f"{url} has no schedule {schedule_name(model)!r}: make one with --submit --schedule CRON")
    wanted = {key: schedules[0][key] for key in ("experiment_id", "pipeline_version_reference", "runtime_config")}
    _call(url, "POST", "runs", json={"display_name": name, **wanted})
    return f"run {name!r} is started"


def _named(url: str, kind: str, name: str) -> list[dict[str, Any]]:
    """Return what bears a name, the newest first."""
    predicate = {"key": "name", "operation": "EQUALS", "stringValue": name}
    asked = {"filter": json.dumps({"predicates": [predicate]}), "sort_by": "created_at desc"}
    answer = _call(url, "GET", kind, params=asked)
    found: list[dict[str, Any]] = answer.get("recurringRuns" if kind == "recurringruns" else kind, [])
    return found


def _call(url: str, method: str, kind: str, **what: Any) -> dict[str, Any]:
    try:
        answer = httpx.request(method, f"{url.rstrip('/')}/apis/v2beta1/{kind}", timeout=TIMEOUT, **what)
        document: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise RetrainError(f"{url} does not answer as Kubeflow Pipelines does: {error}") from error
    if answer.is_error:
        raise RetrainError(f"{url} refuses: {document.get('message') or answer.status_code}")
    return document
