"""What Alertmanager does with an alert: which receiver by severity and model, grouped how, and what hides what.

Every message goes to the log, too. What messages say comes from rules and from the pipeline, and names models, figures
and actions; a patient's value is in neither.
"""

from collections.abc import Iterator
from typing import Any

from healthrisk.operations.receivers import Receivers, Team

Config = dict[str, Any]
WATCHDOG = "Watchdog"
# The severities of rules; a pager is for what cannot wait.
_CRITICAL, _WARNING = "critical", "warning"
_TITLE = (
    '{{ if eq .Status "resolved" }}over{{ else }}{{ .CommonLabels.severity }}{{ end }}: {{ .CommonLabels.alertname }}'
    "{{ with .CommonLabels.model }} of {{ . }}{{ end }}"
)
_TEXT = (
    '{{ range .Alerts }}{{ if eq .Status "resolved" }}over: {{ end }}{{ .Annotations.summary }}\n'
    '{{ if eq .Status "firing" }}{{ .Annotations.action }}\n{{ with .Annotations.page }}{{ . }}\n{{ end }}{{ end }}'
    "{{ end }}"
)
# What is no news where nothing is served at all.
_OF_SERVERS = (
    "PodNotReady|NoTraffic|HighErrorRate|SlowPredictions|ModelDigestMismatch|WorkloadNotReady|ServiceUnreachable"
)


def config(receivers: Receivers, log_url: str) -> Config:
    """Return Alertmanager's configuration: the log at `log_url` hears everything, the others what their route gives."""
    teams: dict[str, Team] = {"": receivers, **{f"-{model}": team for model, team in receivers.models.items()}}
    log = {"url": log_url, "send_resolved": True}
    watchdog = [{"url_file": receivers.watchdog_url, "send_resolved": False}] if receivers.watchdog_url else []
    return {
        "route": _route(receivers),
        "inhibit_rules": [
            _hides("NothingServes", _OF_SERVERS),
            _hides("GatewayNotReady", "NoTraffic"),
            {**_hides("HighErrorRate", "SlowPredictions"), "equal": ["model"]},
            # Of one fault the worse is said.
            {
                "source_matchers": [f'severity="{_CRITICAL}"'],
                "target_matchers": [f'severity="{_WARNING}"'],
                "equal": ["alertname", "model"],
            },
        ],
        "receivers": [
            {"name": "watchdog", "webhook_configs": [log, *watchdog]},
            *(
                {
                    "name": f"{severity}{name}",
                    "webhook_configs": [log],
                    **dict(_integrations(receivers, team, severity)),
                }
                for name, team in teams.items()
                for severity in (_CRITICAL, _WARNING)
            ),
        ],
    }


def _route(receivers: Receivers) -> Config:
    """What bears no severity goes the way of warnings: it reaches somebody, and wakes nobody."""
    watchdog = {"matchers": [f'alertname="{WATCHDOG}"'], "receiver": "watchdog"}
    # With no wait at all the group is looked at before the alert is in it, and then a minute later.
    always = {"group_wait": "1s", "group_interval": "1m", "repeat_interval": "1m"}
    own = [
        {"matchers": [f'model="{model}"'], "receiver": f"{_WARNING}-{model}", "routes": [_critical(f"-{model}")]}
        for model in receivers.models
    ]
    return {
        "receiver": _WARNING,
        "group_by": ["alertname", "model"],
        # What comes at once is one message. Prometheus looks every 15 s, so the first is out within a minute, and so is
        # another pod's of the same alert, which waits for its group's next message.
        "group_wait": "10s",
        "group_interval": "30s",
        "repeat_interval": "24h",
        "routes": [watchdog | always, *own, _critical("")],
    }


def _critical(name: str) -> Config:
    return {"matchers": [f'severity="{_CRITICAL}"'], "receiver": f"{_CRITICAL}{name}", "repeat_interval": "2h"}


def _hides(source: str, targets: str) -> Config:
    return {"source_matchers": [f'alertname="{source}"'], "target_matchers": [f'alertname=~"{targets}"']}


def _integrations(receivers: Receivers, team: Team, severity: str) -> Iterator[tuple[str, list[Config]]]:
    """Yield the ways to a team by Alertmanager's names; what a model's team does not have is everybody's."""
    if chat := team.chat_url or receivers.chat_url:
        yield "slack_configs", [{"api_url_file": chat, "send_resolved": True, "title": _TITLE, "text": _TEXT}]
    if mail := team.mail_to or receivers.mail_to:
        yield "email_configs", [_mail(receivers, mail)]
    if severity == _CRITICAL and (key := team.pager_key or receivers.pager_key):
        page = {"routing_key_file": key, "send_resolved": True, "severity": _CRITICAL, "client": "healthrisk"}
        address = {"url": receivers.pager_url} if receivers.pager_url else {}
        yield "pagerduty_configs", [page | address | {"description": _TITLE, "details": {"message": _TEXT}}]


def _mail(receivers: Receivers, to: str) -> Config:
    mail = {
        "to": to,
        "from": receivers.mail_from,
        "smarthost": receivers.mail_server,
        "require_tls": receivers.mail_tls == "yes",
        "send_resolved": True,
        "headers": {"subject": _TITLE},
        "text": _TEXT,
        "html": "",
    }
    if receivers.mail_user:
        mail |= {"auth_username": receivers.mail_user, "auth_password_file": receivers.mail_password}
    return mail
