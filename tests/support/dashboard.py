"""The dashboard's panels and rules as its tests need them: windows of hours and weeks are seconds, to be seen full."""

import json
from typing import Any

import yaml

from tests.support.servers import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "manifests" / "grafana" / "serving.json").read_text())
# All but the requests that Jaeger lists.
PANELS: list[dict[str, Any]] = [one for one in DASHBOARD["panels"] if one["datasource"]["uid"] == "prometheus"]
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
    texts = [(ROOT / "manifests" / "prometheus" / f"{name}.yaml").read_text() for name in ("recording", "objectives")]
    return yaml.safe_dump({"groups": [group for text in texts for group in yaml.safe_load(quick(text))["groups"]]})
