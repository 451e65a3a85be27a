"""An alert as Alertmanager takes it, and how it is sent there."""

import datetime
import json
import urllib.request
from typing import Literal

from pydantic import Field

from healthrisk.documents import Document
from healthrisk.errors import SourceError

_SECONDS = 10.0


class Alert(Document):
    """One alert; the same name, severity and labels are the same alert.

    `summary` says what is wrong and `action` what to do, `page` where to look. None holds a patient's value.
    """

    name: str
    severity: Literal["critical", "warning"]
    summary: str
    action: str
    page: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


def send(alert: Alert, url: str, lasts: datetime.timedelta) -> None:
    """Send an alert to the Alertmanager at `url`; it is over after `lasts`, unless it is sent again.

    Raises:
        SourceError: it does not answer, or refuses.
    """
    words = {"summary": alert.summary, "action": alert.action, "page": alert.page}
    body = {
        "labels": {"alertname": alert.name, "severity": alert.severity, **alert.labels},
        "annotations": {name: text for name, text in words.items() if text},
        "endsAt": (datetime.datetime.now(datetime.UTC) + lasts).isoformat(),
    }
    try:
        request = urllib.request.Request(  # noqa: S310 - of the configuration, never of a caller
            f"{url.rstrip('/')}/api/v2/alerts", json.dumps([body]).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
            pass
    except (OSError, ValueError) as error:
        raise SourceError(f"{url} does not take alerts as an Alertmanager does: {error}") from error
