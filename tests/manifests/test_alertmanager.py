"""Alertmanager's pod: each of its containers finds what another one of them writes or listens at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.alerting import tool
from tests.support.manifest_rules import OVERLAYS, containers, script


def options(container: dict[str, Any]) -> dict[str, str]:
    """Return a container's options by name."""
    return dict(word.removeprefix("--").split("=", 1) for word in container["args"])


@pytest.mark.parametrize("part", OVERLAYS)
def test_its_containers_know_each_other(part: str, render: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    ours = {
        name.rpartition("/")[2]: container
        for name, container, _ in containers(render(part))
        if name.startswith("StatefulSet/alertmanager/")
    }
    routes, log, manager = (options(ours[name]) for name in ("routes", "log", "alertmanager"))
    assert routes["out"] == manager["config.file"]
    assert routes["log"] == f"http://127.0.0.1:{log['port']}"
    (port,) = ours["alertmanager"]["ports"]
    assert log["alertmanager"] == f"http://127.0.0.1:{port['containerPort']}"
    # Its very command, with folders of this machine; the secret is not there.
    words = [
        *ours["routes"]["command"],
        f"--receivers={tmp_path}/none",
        f"--log={routes['log']}",
        f"--out={tmp_path}/out",
    ]
    done = script(*words)
    assert done.returncode == 0, done.stderr
    checked = script(tool("amtool"), "check-config", str(tmp_path / "out"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("part", OVERLAYS)
def test_prometheus_tells_the_service_that_is_there(part: str, render: Callable[..., list[dict[str, Any]]]) -> None:
    documents = render(part)
    (service,) = (one for one in documents if (one["kind"], one["metadata"]["name"]) == ("Service", "alertmanager"))
    address = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    (config,) = (
        one for one in documents if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("prometheus")
    )
    assert config["data"]["prometheus.yaml"].count(f"targets: [{address}]") == 2, "told, and scraped"
