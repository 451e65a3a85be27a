"""Every query of the dashboard gives numbers, asked of a real Prometheus that reads our real servers."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.inference.scorer import golden_matrix

ROOT = Path(__file__).parents[2]
from tests.support.servers import Server, free_ports  # noqa: E402

DASHBOARD = json.loads((ROOT / "manifests" / "grafana" / "serving.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
# The windows of hours and weeks become seconds, so that a test sees them full.
SECONDS = {
    "[1w] offset 1h": "[20s] offset 4s",
    "[1h]": "[6s]",
    "$__rate_interval": "6s",
    "interval: 1m": "interval: 1s",
}


def quick(text: str) -> str:
    for long, short in SECONDS.items():
        text = text.replace(long, short)
    return text


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("dashboard")
    command = [
        sys.executable,
        str(ROOT / "tests/support/sample_bundle.py"),
        str(folder),
        "--family=logistic_regression",
    ]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    bundle = Path(made.stdout.strip())
    predictor = Server("predictor.py", bundle, folder / "predictor.log").start()
    host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
    transformer = Server("transformer.py", bundle, folder / "transformer.log", (host,)).start()
    try:
        yield [predictor.wait(), transformer.wait()]
    finally:
        for server in (predictor, transformer):
            server.end()


@pytest.fixture(scope="module")
def prometheus(servers: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with our rules, that has read a quarter of a minute of traffic; yields its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("there is no Prometheus here: make test-tools")
    folder, (port,) = tmp_path_factory.mktemp("prometheus"), free_ports(1)
    (folder / "recording.yaml").write_text(quick((ROOT / "manifests/prometheus/recording.yaml").read_text()))
    targets = [
        {
            "targets": [server.url.removeprefix("http://")],
            "labels": {"service": "heart-disease", "component": component, "pod": component},
        }
        for server, component in zip(servers, ("predictor", "transformer"), strict=True)
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "recording.yaml")],
        "scrape_configs": [{"job_name": "model-servers", "static_configs": targets}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [binary, f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            traffic(servers[1], seconds=14)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def traffic(transformer: Server, seconds: float) -> None:
    """Ask for predictions, a value missing in some, and now and then wrongly."""
    bundle = Bundle.open(transformer.bundle)
    golden = bundle.read_json("golden.json")
    rows = encoding.decode(bundle.spec, golden_matrix(bundle.spec, golden["rows"]))
    url = f"{transformer.url}/v1/models/{bundle.spec.name}:predict"
    until = time.monotonic() + seconds
    with httpx.Client() as client:
        while time.monotonic() < until:
            client.post(url, json={"instances": rows}).raise_for_status()
            assert client.post(url, json={"instances": [[1]]}).status_code == 400
            time.sleep(0.2)


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_gives_numbers(title: str, query: str, prometheus: str) -> None:
    expression = quick(query).replace("$model", ".+")
    until = time.monotonic() + 10
    found: list[Any] = []
    while not found and time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
            assert answer["status"] == "success", answer
            found = [sample["value"][1] for sample in answer["data"]["result"]]
        time.sleep(0.2)
    assert found
    assert "NaN" not in found


def test_every_panel_says_what_it_shows() -> None:
    assert len({title for title, _ in QUERIES}) == len(DASHBOARD["panels"]) >= 8
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] == "prometheus"
        assert panel["fieldConfig"]["defaults"]["unit"]
