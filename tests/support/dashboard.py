"""The dashboard's panels and rules as its tests need them: windows of hours and weeks are seconds, to be seen full."""

import json
from typing import Any

from tests.support.servers import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "manifests" / "grafana" / "serving.json").read_text())
_SECONDS = {
    "[1w] offset 1h": "[20s] offset 4s",
    "[1h]": "[6s]",
    "$__rate_interval": "6s",
    "interval: 1m": "interval: 1s",
}


def quick(text: str) -> str:
    """Return rules or a query, of all models, with seconds for windows."""
    for long, short in _SECONDS.items():
        text = text.replace(long, short)
    return text.replace("$model", ".+")


def recording_rules() -> str:
    """Return the rules whose results the dashboard shows."""
    return quick((ROOT / "manifests" / "prometheus" / "recording.yaml").read_text())
