"""A fault reaches people: the shipped rules in a real Prometheus, a real Alertmanager, and those whom it tells."""

import datetime
import json
import mailbox
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from healthrisk.errors import SourceError
from healthrisk.operations.alert import Alert, send
from healthrisk.operations.message_log import MessageLog
from tests.support import http
from tests.support.alerting import Inbox, alertmanager, inbox, mail_server, write_config
from tests.support.patience import ANSWER, until
from tests.support.prometheus import prometheus
from tests.support.servers import free_ports

pytestmark = pytest.mark.slow
ALERTS = (Path(__file__).parents[2] / "manifests" / "prometheus" / "alerts.yaml").read_text()
LONG = datetime.timedelta(hours=1)
DRIFT = "heart-disease: 2 features of the last day are not as in the training data"
MISMATCH = "heart-disease is served from 2 different bundles"


@dataclass
class Told:
    """Where messages arrive."""

    inbox: Inbox
    mail: mailbox.Maildir
    log: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The whole way: servers with two faults, Prometheus, Alertmanager with every receiver, and the log beside it."""
    folder, log_port, manager_port = tmp_path_factory.mktemp("told"), *free_ports(2)
    with ExitStack() as stack:
        received = stack.enter_context(inbox())
        server, box = stack.enter_context(mail_server(folder))
        secret = {
            **{"mail-to": "team@hospital.example", "mail-from": "healthrisk@hospital.example", "mail-tls": "no"},
            **{"mail-server": server, "chat-url": f"{received.url}/chat", "watchdog-url": f"{received.url}/watchdog"},
            **{"pager-key": "key", "pager-url": f"{received.url}/pager"},
        }
        config = write_config(folder, secret, f"http://127.0.0.1:{log_port}")
        log = stack.enter_context((folder / "log").open("w"))
        at = [f"--port={log_port}", f"--alertmanager=http://127.0.0.1:{manager_port}", f"--silence={ANSWER}"]
        stack.enter_context(_running([sys.executable, "-m", "healthrisk", "alerts", "log", *at], log))
        manager = stack.enter_context(alertmanager(folder, config, manager_port))
        exporter = stack.enter_context(_exporter())
        rules = re.sub(r"for: \d+[mh]", "for: 1s", ALERTS)
        labels = {"service": "heart-disease", "component": "transformer", "pod": "transformer-1", "ready": "true"}
        targets = [{"targets": [exporter], "labels": labels}]
        stack.enter_context(prometheus(folder, targets, rules, job="model-servers", tells=manager))
        yield Told(received, box, folder / "log")


@contextmanager
def _running(command: list[str], log: IO[str]) -> Iterator[None]:
    """Run a process that is ended with the context."""
    with subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _exporter() -> Iterator[str]:
    """Show a server with two bundles and two drifting features, at HOST:PORT."""
    registry, (port,) = CollectorRegistry(), free_ports(1)
    info = Gauge("healthrisk_model_info", "", ["model", "version", "digest"], registry=registry)
    for digest in ("a", "b"):
        info.labels("heart-disease", "1", digest).set(1)
    drifting = Gauge("healthrisk_drift_features", "", ["model", "version"], registry=registry)
    drifting.labels("heart-disease", "1").set(2)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_warning_reaches_chat_and_mail_with_model_figure_and_action(told: Told) -> None:
    chat = json.dumps(told.inbox.wait("/chat", DRIFT))
    assert "warning: DriftFromTraining of heart-disease" in chat
    assert "healthrisk_drift_distance says which" in chat
    mail = until(lambda: _mail(told.mail, "DriftFromTraining"), lambda: "no mail")
    assert (mail["to"], mail["from"]) == ("team@hospital.example", "healthrisk@hospital.example")
    assert mail["subject"] == "warning: DriftFromTraining of heart-disease"
    text = mail.get_payload(decode=True) if not mail.is_multipart() else mail.get_payload(0).get_payload(decode=True)
    assert DRIFT in text.decode()
    assert "healthrisk_drift_distance says which" in text.decode()


def _mail(box: mailbox.Maildir, says: str) -> Message | None:
    return next((one for one in box if says in one["subject"]), None)


def test_what_cannot_wait_reaches_the_pager_and_a_warning_does_not(told: Told) -> None:
    page = told.inbox.wait("/pager", MISMATCH)
    assert (page["event_action"], page["payload"]["severity"]) == ("trigger", "critical")
    assert page["payload"]["summary"] == "critical: ModelDigestMismatch of heart-disease"
    assert "make rollback" in page["payload"]["custom_details"]["message"]
    told.inbox.wait("/chat", DRIFT)
    assert "DriftFromTraining" not in json.dumps(told.inbox.at("/pager"))


def test_every_message_is_in_the_log_and_the_watchdog_is_not(told: Told) -> None:
    until(lambda: DRIFT in told.log.read_text() and MISMATCH in told.log.read_text(), told.log.read_text)
    lines = [json.loads(line) for line in told.log.read_text().splitlines()]
    (drift,) = (line for line in lines if line["labels"]["alertname"] == "DriftFromTraining")
    assert (drift["status"], drift["labels"]["model"], drift["summary"]) == ("firing", "heart-disease", DRIFT)
    assert drift["action"].startswith("healthrisk_drift_distance")
    assert not {line["labels"]["alertname"] for line in lines} & {"Watchdog", "PrometheusSilent"}


def test_the_watchdog_comes_by_where_its_absence_is_the_alarm(told: Told) -> None:
    message = told.inbox.wait("/watchdog", "Watchdog")
    assert [alert["labels"]["alertname"] for alert in message["alerts"]] == ["Watchdog"]


def test_nothing_that_was_sent_was_refused(told: Told) -> None:
    told.inbox.wait("/chat", DRIFT)
    told.inbox.wait("/pager", MISMATCH)
    assert "level=ERROR" not in (told.log.parent / "alertmanager.log").read_text()


@pytest.mark.parametrize(
    ("cause", "hidden"),
    [
        ("NothingServes", ("PodNotReady", "NoTraffic", "HighErrorRate")),
        ("GatewayNotReady", ("NoTraffic",)),
    ],
)
def test_a_dead_cluster_is_one_message(cause: str, hidden: tuple[str, ...], tmp_path: Path) -> None:
    with inbox() as received:
        config = write_config(tmp_path, {"chat-url": f"{received.url}/chat"})
        with alertmanager(tmp_path, config) as url:
            send(alert(cause), url, LONG)
            assert until(lambda: _states(url).get(cause) == {"active"}, lambda: _states(url))
            for name in hidden:
                for model, pod in ("a", "1"), ("a", "2"), ("b", "3"):
                    send(alert(name, model=model, pod=pod), url, LONG)
            # It is told after them, and hidden by none.
            send(alert("LiveFiguresStale"), url, LONG)
            received.wait("/chat", "LiveFiguresStale")
            titles = [body["attachments"][0]["title"] for body in received.at("/chat")]
            assert sorted(titles) == sorted(["critical: LiveFiguresStale", f"critical: {cause}"])
            assert {name: _states(url)[name] for name in hidden} == {name: {"suppressed"} for name in hidden}


def test_pods_of_one_model_are_one_message(tmp_path: Path) -> None:
    with inbox() as received:
        config = write_config(tmp_path, {"chat-url": f"{received.url}/chat"}, group_wait="3s")
        with alertmanager(tmp_path, config) as url:
            for pod in ("1", "2", "3"):
                send(alert("PodNotReady", model="a", pod=pod), url, LONG)
            message = received.wait("/chat", "PodNotReady")["attachments"][0]
    assert message["title"] == "critical: PodNotReady of a"
    assert message["text"].count("PodNotReady is so") == 3


def test_a_model_has_people_of_its_own(tmp_path: Path) -> None:
    with inbox() as received:
        secret = {"chat-url": f"{received.url}/all", "obesity.chat-url": f"{received.url}/obesity"}
        with alertmanager(tmp_path, write_config(tmp_path, secret)) as url:
            send(alert("HighErrorRate", model="obesity"), url, LONG)
            send(alert("HighErrorRate", model="heart-disease"), url, LONG)
            received.wait("/obesity", "HighErrorRate of obesity")
            received.wait("/all", "HighErrorRate of heart-disease")
    assert len(received.at("/obesity")) == len(received.at("/all")) == 1


def test_a_silence_outlives_a_restart(tmp_path: Path) -> None:
    config, now = write_config(tmp_path, {}), datetime.datetime.now(datetime.UTC)
    until_then = {"startsAt": now.isoformat(), "endsAt": (now + LONG).isoformat()}
    wanted = {"matchers": [{"name": "model", "value": "a", "isRegex": False}], "createdBy": "t", "comment": "planned"}
    with alertmanager(tmp_path, config) as url:
        http.post(f"{url}/api/v2/silences", json={**wanted, **until_then}).raise_for_status()
    with alertmanager(tmp_path, config) as url:
        send(alert("HighErrorRate", model="a"), url, LONG)
        assert until(lambda: _states(url) == {"HighErrorRate": {"suppressed"}}, lambda: _states(url))


def test_where_prometheus_is_silent_the_log_raises_the_alarm(tmp_path: Path) -> None:
    """Nobody runs a Prometheus here: what comes is the log's own alert, by way of Alertmanager."""
    log_port, manager_port = free_ports(2)
    with inbox() as received, (tmp_path / "log").open("w") as log:
        secret = {"chat-url": f"{received.url}/chat"}
        config = write_config(tmp_path, secret, f"http://127.0.0.1:{log_port}")
        at = [f"--port={log_port}", f"--alertmanager=http://127.0.0.1:{manager_port}", "--silence=1"]
        with (
            _running([sys.executable, "-m", "healthrisk", "alerts", "log", *at], log),
            alertmanager(tmp_path, config, manager_port),
        ):
            received.wait("/chat", "critical: PrometheusSilent")
            assert until(lambda: "PrometheusSilent" in (tmp_path / "log").read_text())


def test_without_alertmanager_the_alarm_is_in_the_log(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    command = [sys.executable, "-m", "healthrisk", "alerts", "log", f"--port={free_ports(1)[0]}", "--silence=1"]
    with (tmp_path / "log").open("w") as log, _running([*command, f"--alertmanager=http://127.0.0.1:{nobody}"], log):
        assert until(lambda: "PrometheusSilent" in (tmp_path / "log").read_text())
    with pytest.raises(SourceError, match=f"http://127.0.0.1:{nobody} does not take alerts"):
        send(alert("HighErrorRate"), f"http://127.0.0.1:{nobody}", LONG)


def test_the_watchdog_is_heard_and_not_written() -> None:
    lines: list[str] = []
    one = {"status": "firing", "labels": {"alertname": "Watchdog", "severity": "none"}}
    MessageLog(lines.append).take(json.dumps({"alerts": [one]}).encode())
    assert lines == []


def alert(name: str, **labels: str) -> Alert:
    return Alert(name=name, severity="critical", summary=f"{name} is so", action="do this", labels=labels)


def _states(url: str) -> dict[str, set[str]]:
    """Return the states of alerts by name."""
    states: dict[str, set[str]] = {}
    for one in http.get(f"{url}/api/v2/alerts").json():
        states.setdefault(one["labels"]["alertname"], set()).add(one["status"]["state"])
    return states
