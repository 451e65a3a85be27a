"""What Kubeflow Pipelines has run: runs that failed, whoever was left to say so, and when each schedule succeeded last.

A step that fails says so itself. One that is killed, never starts, or takes its node with it says nothing: that is told
from here. So is a schedule that has gone silent: when it succeeded last, and how long that may be, become gauges.
"""

import datetime
import json
from urllib.error import URLError

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
from pydantic import BaseModel, Field, JsonValue

from healthrisk.errors import SourceError
from healthrisk.monitoring.retrain import ask, schedule_name
from healthrisk.operations import failed_run

_SECONDS = 30.0
# The newest of either; more than is looked at hour by hour.
_NEWEST = {"page_size": "200", "sort_by": "created_at desc"}
# Longer than from one look to the next: what is told twice is one alert.
_RECENT = datetime.timedelta(hours=3)
_HOUR, _DAY = 3600, 86400


class _Task(BaseModel):
    display_name: str = ""
    state: str = ""


class _Details(BaseModel):
    task_details: tuple[_Task, ...] = ()


class _Configuration(BaseModel):
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class _Run(BaseModel):
    run_id: str
    state: str = ""
    finished_at: datetime.datetime | None = None
    recurring_run_id: str = ""
    runtime_config: _Configuration = _Configuration()
    run_details: _Details | None = None

    def model(self) -> str:
        """Return the model that it trains, or nothing where it is no run of ours."""
        try:
            return str(json.loads(str(self.runtime_config.parameters.get("spec", "")))["name"])
        except (ValueError, LookupError, TypeError):
            return ""


class _Runs(BaseModel):
    runs: tuple[_Run, ...] = ()


class _Cron(BaseModel):
    cron: str = ""


class _Trigger(BaseModel):
    cron_schedule: _Cron = _Cron()


class _Schedule(BaseModel):
    recurring_run_id: str
    display_name: str
    created_at: datetime.datetime
    status: str = ""
    trigger: _Trigger = _Trigger()


class _Schedules(BaseModel):
    schedules: tuple[_Schedule, ...] = Field(default=(), validation_alias="recurringRuns")


def look(url: str, gateway: str) -> dict[str, str]:
    """Tell of each run that has failed lately, and push when schedules succeeded; return what failed, by run.

    Raises:
        RetrainError: Kubeflow Pipelines does not answer.
        SourceError: the push gateway does not.
    """
    runs = ask(url, "runs", _NEWEST, _Runs).runs
    _push(ask(url, "recurringruns", _NEWEST, _Schedules).schedules, runs, gateway)
    since = datetime.datetime.now(datetime.UTC) - _RECENT
    failed = [
        run for run in runs if run.state == "FAILED" and run.model() and run.finished_at and run.finished_at > since
    ]
    told = {}
    for run in failed:
        whole = ask(url, f"runs/{run.run_id}", {}, _Run)
        tasks = whole.run_details.task_details if whole.run_details else ()
        names = sorted({task.display_name for task in tasks if task.state == "FAILED" and " " in task.display_name})
        told[run.run_id] = f"the run failed at {', '.join(map(repr, names)) or 'a step that its page names'}"
        failed_run.send_alert(run.model(), run.run_id, told[run.run_id])
    return told


def longest_wait(cron: str) -> int:
    """Return a bound, in seconds, of how long a schedule with Kubeflow Pipelines' six fields (or five) may wait."""
    *_, hour, day, month, weekday = ["0", "0", "0", *cron.split()][-6:]
    bounds = ((month, 366 * _DAY), (day, 31 * _DAY), (weekday, 7 * _DAY), (hour, _DAY))
    return next((seconds for field, seconds in bounds if field not in {"*", "?"}), _HOUR)


def _push(schedules: tuple[_Schedule, ...], runs: tuple[_Run, ...], gateway: str) -> None:
    registry = CollectorRegistry()
    succeeded = Gauge(
        "healthrisk_schedule_success_seconds", "When it succeeded last, or was made.", ["model"], registry=registry
    )
    wait = Gauge("healthrisk_schedule_wait_seconds", "How long it may wait at most.", ["model"], registry=registry)
    Gauge("healthrisk_watch_seconds", "When the hourly job looked.", registry=registry).set_to_current_time()
    for schedule in schedules:
        model = schedule.display_name.removeprefix(schedule_name(""))
        if schedule.status != "ENABLED" or model == schedule.display_name:
            continue
        own = [run for run in runs if run.recurring_run_id == schedule.recurring_run_id and run.state == "SUCCEEDED"]
        ended = [run.finished_at for run in own if run.finished_at]
        succeeded.labels(model).set(max([schedule.created_at, *ended]).timestamp())
        wait.labels(model).set(longest_wait(schedule.trigger.cron_schedule.cron))
    try:
        push_to_gateway(gateway, "healthrisk-runs", registry, timeout=_SECONDS)
    except (URLError, OSError, ValueError) as error:
        raise SourceError(f"{gateway} does not take gauges as a push gateway does: {error}") from error
