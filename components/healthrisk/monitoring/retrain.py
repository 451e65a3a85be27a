"""Retraining on Kubeflow Pipelines: what a model's schedule does at its time, started now.

Plain HTTP, since the process that watches needs three calls of the server and not its client.
"""

import json
import time
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, Field, JsonValue, ValidationError

from healthrisk.errors import HealthriskError
from healthrisk.records import actions
from healthrisk.retry import waits

TIMEOUT = httpx.Timeout(30, connect=5)


class RetrainError(HealthriskError):
    """Kubeflow Pipelines does not answer, refuses, or has no schedule that says how to retrain a model."""


class _Schedule(BaseModel):
    """What a recurring run starts its runs with; pipeline and parameters are passed on as they are."""

    experiment_id: str
    pipeline_version_reference: JsonValue
    runtime_config: JsonValue


class _Schedules(BaseModel):
    schedules: tuple[_Schedule, ...] = Field(default=(), validation_alias="recurringRuns")


class _Runs(BaseModel):
    runs: tuple[JsonValue, ...] = ()


class _Refusal(BaseModel):
    message: str = ""


Answer = TypeVar("Answer", bound=BaseModel)


def schedule_name(model: str) -> str:
    """Return the name of a model's recurring run."""
    return f"retrain {model}"


def retrain(url: str, model: str, version: str) -> str:
    """Start the run that a model's schedule would start, once for each version; return what was done, in words.

    Raises:
        RetrainError: the server at `url` does not answer, refuses, or has no schedule of this model.
    """
    name = f"{schedule_name(model)}: drift of {version}"
    if _list(url, "runs", name, _Runs).runs:
        return f"run {name!r} was started before"
    listed = _list(url, "recurringruns", schedule_name(model), _Schedules)
    if not listed.schedules:
        raise RetrainError(f"{url} has no schedule {schedule_name(model)!r}: make one with --submit --schedule CRON")
    _call(url, "POST", "runs", json={"display_name": name, **listed.schedules[0].model_dump()})
    actions.tell("retraining", model, reason=name)
    return f"run {name!r} is started"


def _list(url: str, kind: str, name: str, form: type[Answer]) -> Answer:
    """Return what bears a name, the newest first."""
    predicate = {"key": "name", "operation": "EQUALS", "stringValue": name}
    return ask(url, kind, {"filter": json.dumps({"predicates": [predicate]}), "sort_by": "created_at desc"}, form)


def ask(url: str, path: str, wanted: dict[str, str], form: type[Answer]) -> Answer:
    """Return what the server at `url` says to a question.

    Raises:
        RetrainError: it does not answer, refuses, or says something else.
    """
    body = _call(url, "GET", path, params=wanted)
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise RetrainError(f"{url} does not answer as Kubeflow Pipelines does: {error}") from error


def _call(url: str, method: str, kind: str, **request: Any) -> bytes:
    try:
        answer = _send(method, f"{url.rstrip('/')}/apis/v2beta1/{kind}", **request)
        refusal = _Refusal.model_validate_json(answer.content) if answer.is_error else None
    except (httpx.HTTPError, httpx.InvalidURL, ValidationError) as error:
        raise RetrainError(f"{url} does not answer as Kubeflow Pipelines does: {error}") from error
    if refusal is not None:
        raise RetrainError(f"{url} refuses: {refusal.message or answer.status_code}")
    return answer.content


def _send(method: str, address: str, **request: Any) -> httpx.Response:
    """Send a request, again where no connection can be made: that has started nothing yet."""
    pauses = waits()
    while True:
        try:
            return httpx.request(method, address, timeout=TIMEOUT, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            pause = next(pauses, None)
            if pause is None:
                raise
            time.sleep(pause)
