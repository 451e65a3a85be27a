"""Who is told of what: a secret's keys become Alertmanager's routes, and its own tool says where an alert goes."""

import re
from pathlib import Path

import pytest
import yaml

from healthrisk.errors import ConfigError
from healthrisk.operations import receivers, routes
from tests.support.alerting import tool, write_config
from tests.support.patience import run

ROOT = Path(__file__).parents[2]
ALL = {
    "mail-to": "team@hospital.example",
    "mail-from": "healthrisk@hospital.example",
    "mail-server": "smtp.hospital.example:587",
    "mail-user": "healthrisk",
    "mail-password": "not-in-the-configuration",
    "chat-url": "https://chat.hospital.example/hooks/not-in-the-configuration",
    "pager-key": "not-in-the-configuration",
    "watchdog-url": "https://watch.hospital.example/not-in-the-configuration",
    "heart-disease.mail-to": "cardiology@hospital.example",
}


def integrations(path: Path, receiver: str) -> dict[str, int]:
    """Return how many of each way out a receiver has."""
    (one,) = (one for one in yaml.safe_load(path.read_text())["receivers"] if one["name"] == receiver)
    return {name: len(ways) for name, ways in one.items() if name != "name"}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=FeatureDrift severity=warning model=obesity", "warning"),
        ("alertname=HighErrorRate severity=critical model=obesity", "critical"),
        ("alertname=FeatureDrift severity=warning model=heart-disease", "warning-heart-disease"),
        ("alertname=HighErrorRate severity=critical model=heart-disease", "critical-heart-disease"),
        ("alertname=NothingServes severity=critical", "critical"),
        ("alertname=Watchdog severity=none", "watchdog"),
        ("alertname=Unknown", "warning"),
    ],
)
def test_an_alert_goes_by_its_severity_and_model(labels: str, receiver: str, tmp_path: Path) -> None:
    path = write_config(tmp_path, ALL)
    done = run([tool("amtool"), "config", "routes", "test", f"--config.file={path}", *labels.split()])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == receiver


@pytest.mark.parametrize(
    "secret",
    [
        {},
        ALL,
        {"chat-url": "https://c.example/h"},
        {**ALL, "mail-tls": "no", "pager-url": "http://p.example"},
        {**ALL, "mail-to": "team@hospital.example, night@hospital.example"},
    ],
)
def test_alertmanager_takes_what_is_written(secret: dict[str, str], tmp_path: Path) -> None:
    path = write_config(tmp_path, secret)
    done = run([tool("amtool"), "check-config", path])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not-in-the-configuration" not in path.read_text()


def test_without_a_secret_everything_goes_to_the_log_alone(tmp_path: Path) -> None:
    path = write_config(tmp_path, {})
    config = yaml.safe_load(path.read_text())
    assert [one["name"] for one in config["receivers"]] == ["watchdog", "critical", "warning"]
    for one in config["receivers"]:
        assert integrations(path, one["name"]) == {"webhook_configs": 1}


def test_a_pager_is_for_what_cannot_wait(tmp_path: Path) -> None:
    path = write_config(tmp_path, ALL)
    told = {"webhook_configs": 1, "slack_configs": 1, "email_configs": 1}
    assert integrations(path, "warning") == integrations(path, "warning-heart-disease") == told
    assert (
        integrations(path, "critical")
        == integrations(path, "critical-heart-disease")
        == {**told, "pagerduty_configs": 1}
    )
    assert integrations(path, "watchdog") == {"webhook_configs": 2}


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ({"mail-to": "team@hospital.example"}, "mail-to needs mail-from and mail-server"),
        ({**ALL, "mail-password": ""}, "mail-password: it is empty"),
        ({"mail-user": "u"}, "receivers: mail-user and mail-password need each other"),
        ({**ALL, "mail-server": "smtp.hospital.example"}, "receivers/mail-server: expected HOST:PORT"),
        (
            {**ALL, "mail-to": "not-in-the-configuration"},
            "receivers/mail-to: expected team@hospital.example, or several",
        ),
        ({**ALL, "mail-to": "a@b.example c@d.example"}, "receivers/mail-to: expected"),
        ({**ALL, "heart-disease.mail-to": "cardiology"}, "receivers/heart-disease.mail-to: expected"),
        ({**ALL, "mail-tls": "perhaps"}, "receivers/mail-tls: expected yes or no"),
        ({"chat-url": "not-in-the-configuration"}, "receivers/chat-url: expected http:// or https://"),
        ({"heart-disease.chat-url": "c.example"}, "receivers/heart-disease.chat-url: expected http:// or https://"),
        ({"watchdog-url": "watch.hospital.example"}, "receivers/watchdog-url: expected http:// or https://"),
        ({"pager-url": "p.example"}, "receivers/pager-url: expected http:// or https://"),
        ({"chat-link": "https://c.example"}, "receivers/chat-link: there is no such key"),
        ({"heart-disease.mail-from": "a@b.example"}, "receivers/heart-disease.mail-from: there is no such key"),
        ({"SLACK": "https://c.example"}, "expected a key such as chat-url or heart-disease.chat-url"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused_by_its_key(secret: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        write_config(tmp_path, secret)
    assert "not-in-the-configuration" not in str(refused.value)


@pytest.mark.parametrize("wait", ["group_wait", "group_interval"])
def test_a_fault_is_told_within_a_minute_of_its_time(wait: str) -> None:
    """What a rule has found waits for the next look of Prometheus, then for its group or its next message."""
    waits = routes.config(receivers.Receivers(), "http://127.0.0.1:9094")["route"][wait]
    watched = yaml.safe_load((ROOT / "manifests/prometheus/prometheus.yaml").read_text())["global"]
    seconds = [int(re.fullmatch(r"(\d+)s", text)[1]) for text in (waits, *watched.values())]  # type: ignore[index]
    assert sum(seconds) <= 60
