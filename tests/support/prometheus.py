"""A real Prometheus that reads every second."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from healthrisk.errors import SourceError
from healthrisk.monitoring import traffic
from tests.support.patience import ANSWER, until
from tests.support.servers import free_ports


@contextmanager
def prometheus(
    folder: Path, targets: list[traffic.Sample], rules: str = "{}", job: str = "tests", tells: str = ""
) -> Iterator[str]:
    """Run a Prometheus with rules on targets, in Prometheus' own form, and yield its address.

    It tells the Alertmanager at `tells`, if there is one.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("there is no Prometheus here: make test-tools")
    (port,) = free_ports(1)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [{"job_name": job, "static_configs": targets}],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [tells.removeprefix("http://")]}]}] if tells else []
        },
    }
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(json.dumps(config))
    command = [binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    # What fires before it knows its Alertmanager is lost, and would come a minute later.
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--rules.alert.resend-delay=5s"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(ANSWER)


def wait_for(url: str, query: str, least: int = 1) -> list[traffic.Sample]:
    """Return a query's samples as soon as there are so many, and all of them numbers."""

    def samples() -> list[traffic.Sample]:
        # A Prometheus that has only just started does not answer.
        with suppress(SourceError):
            answered = traffic.query(url, query)
            if len(answered) >= least and not any(math.isnan(sample.value[1]) for sample in answered):
                return answered
        return []

    return until(samples, lambda: query)


@pytest.fixture
def scraping(tmp_path: Path) -> Callable[..., AbstractContextManager[str]]:
    """Return a context: a real Prometheus that reads a registry every second, and rules; it gives its address."""

    @contextmanager
    def run(registry: CollectorRegistry, rules: dict[str, Any] | None = None) -> Iterator[str]:
        (exporter,) = free_ports(1)
        server, thread = start_http_server(exporter, "127.0.0.1", registry)
        try:
            with prometheus(tmp_path, [{"targets": [f"127.0.0.1:{exporter}"]}], json.dumps(rules or {})) as url:
                yield url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    return run


@pytest.fixture
def gateway() -> Iterator[str]:
    """A real push gateway; gives its address."""
    binary = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
    if binary is None:
        pytest.skip("there is no push gateway here: make test-tools")
    (port,) = free_ports(1)
    command = [binary, f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
