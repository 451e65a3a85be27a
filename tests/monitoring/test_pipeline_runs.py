"""What Kubeflow Pipelines has run, as its server says it: what failed is told, what succeeded becomes a gauge."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from healthrisk.errors import SourceError
from healthrisk.monitoring import pipeline_runs
from healthrisk.monitoring.retrain import RetrainError
from tests.support import http
from tests.support.alerting import alertmanager, inbox, write_config
from tests.support.listening import Handler, listening
from tests.support.servers import free_ports

NOW = datetime.datetime.now(datetime.UTC)


def ago(**time: float) -> str:
    return (NOW - datetime.timedelta(**time)).isoformat().replace("+00:00", "Z")


def a_run(number: str, state: str, ended: str, schedule: str = "") -> dict[str, Any]:
    """A run as the server lists it: without its tasks."""
    parameters = {"spec": json.dumps({"name": "heart-disease"}), "seed": 0}
    return {
        "run_id": number,
        "display_name": "retrain heart-disease",
        "state": state,
        "created_at": ago(days=9),
        "finished_at": ended,
        "recurring_run_id": schedule,
        "runtime_config": {"parameters": parameters},
    }


RUNS = [
    a_run("killed", "FAILED", ago(minutes=20)),
    a_run("old", "FAILED", ago(hours=20)),
    a_run("good", "SUCCEEDED", ago(days=2), "s1"),
    a_run("better", "SUCCEEDED", ago(days=1), "s1"),
    a_run("going", "RUNNING", "1970-01-01T00:00:00Z", "s1"),
    {**a_run("other", "FAILED", ago(minutes=5)), "runtime_config": {"parameters": {"text": "somebody else's"}}},
]
SCHEDULES = [
    {
        "recurring_run_id": "s1",
        "display_name": "retrain heart-disease",
        "created_at": ago(days=30),
        "status": "ENABLED",
        "trigger": {"cron_schedule": {"cron": "0 0 3 * * 1"}},
    },
    {"recurring_run_id": "s2", "display_name": "retrain obesity", "created_at": ago(days=3), "status": "DISABLED"},
    {"recurring_run_id": "s3", "display_name": "another's", "created_at": ago(days=3), "status": "ENABLED"},
]
TASKS = [
    {"display_name": "Train random forest", "state": "FAILED"},
    {"display_name": "train-2-driver", "state": "FAILED"},
    {"display_name": "Ingest the table", "state": "SUCCEEDED"},
]


@pytest.fixture
def pipelines() -> Iterator[str]:
    """A server that answers these three questions as Kubeflow Pipelines' does."""

    class Answers(Handler):
        def respond(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/apis/v2beta1/")
            known = {"runs": {"runs": RUNS}, "recurringruns": {"recurringRuns": SCHEDULES}}
            known["runs/killed"] = {**RUNS[0], "run_details": {"task_details": TASKS}}
            self.answer(body=json.dumps(known[path]).encode())

    with listening(Answers) as url:
        yield url


def test_a_run_that_failed_is_one_message_however_often_one_looks(
    pipelines: str, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inbox() as received, alertmanager(tmp_path, write_config(tmp_path, {"chat-url": f"{received.url}/c"})) as url:
        monkeypatch.setenv("HEALTHRISK_ALERTS", url)
        told = pipeline_runs.look(pipelines, gateway)
        assert told == {"killed": "the run failed at 'Train random forest'"}
        assert pipeline_runs.look(pipelines, gateway) == told
        received.wait("/c", "PipelineRunFailed")
        (alert,) = http.get(f"{url}/api/v2/alerts").json()
    assert alert["labels"] == {
        **{"alertname": "PipelineRunFailed", "severity": "warning"},
        **{"model": "heart-disease", "run": "killed"},
    }
    assert "/#/runs/details/killed" in alert["annotations"]["page"]
    assert len(received.posted) == 1


def test_schedules_become_gauges(pipelines: str, gateway: str) -> None:
    pipeline_runs.look(pipelines, gateway)
    families = {one.name: one for one in text_string_to_metric_families(http.get(f"{gateway}/metrics").text)}
    (succeeded,) = families["healthrisk_schedule_success_seconds"].samples
    (wait,) = families["healthrisk_schedule_wait_seconds"].samples
    assert succeeded.labels["model"] == wait.labels["model"] == "heart-disease"
    assert succeeded.value == pytest.approx((NOW - datetime.timedelta(days=1)).timestamp())
    assert wait.value == 7 * 86400
    (looked,) = families["healthrisk_watch_seconds"].samples
    assert looked.value >= NOW.timestamp()


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 0 3 * * *", 1),
        ("0 0 3 * * 1", 7),
        ("0 0 3 1 * *", 31),
        ("0 0 3 1 1 *", 366),
        ("0 30 * * * *", 1 / 24),
        ("0 3 * * *", 1),
        ("0 0 3 ? * MON", 7),
    ],
)
def test_how_long_a_schedule_may_wait(cron: str, days: float) -> None:
    assert pipeline_runs.longest_wait(cron) == days * 86400


def test_who_does_not_answer_is_named(pipelines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "0.1")
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(SourceError, match=f"{nobody} does not take gauges"):
        pipeline_runs.look(pipelines, nobody)
    with pytest.raises(RetrainError, match=f"{nobody} does not answer"):
        pipeline_runs.look(nobody, nobody)
