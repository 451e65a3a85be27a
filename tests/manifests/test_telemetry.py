"""Lines and spans by way of the manifests' collector: from real servers to real stores, found there by their ids."""

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support import http
from tests.support.dashboard import DASHBOARD
from tests.support.manifest_rules import ROOT, Document, containers
from tests.support.patience import ANSWER, until
from tests.support.servers import Pair, free_ports
from tests.support.victoria_logs import lines, victoria_logs

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
Render = Callable[..., list[Document]]


@dataclass(frozen=True)
class Stores:
    """The addresses of a collector, and of those that keep what it takes; of traces none where there is no Jaeger."""

    collector: str
    logs: str
    traces: str | None


def _started(stack: ExitStack, folder: Path, name: str, replaced: dict[str, str], program: str) -> None:
    """Run a program with its configuration of the manifests, of which addresses and folders are made this machine's."""
    text = (ROOT / "manifests" / name / f"{name}.yaml").read_text()
    for place, here in replaced.items():
        assert place in text, place
        text = text.replace(place, here)
    (folder / f"{name}.yaml").write_text(text)
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    running = subprocess.Popen([program, f"--config={folder}/{name}.yaml"], stdout=log, stderr=log)
    stack.callback(running.wait, ANSWER)
    stack.callback(running.terminate)


def _accepts(url: str) -> bool:
    try:
        http.get(url)
    except httpx.TransportError:
        return False
    return True


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    if (collector := shutil.which("otelcol")) is None:
        pytest.skip("there is no otelcol here, which takes three minutes of a core to build: make test-tools TRACES=1")
    folder = tmp_path_factory.mktemp("telemetry")
    jaeger = shutil.which("jaeger")
    port, spans, health, page = free_ports(4)
    with victoria_logs(folder) as logs, ExitStack() as stack:
        places = {"0.0.0.0:4318": f"127.0.0.1:{port}", "http://victoria-logs:9428": logs}
        here = {"http://jaeger:4318": f"http://127.0.0.1:{spans}"}
        if jaeger:
            own = {"0.0.0.0:4318": f"127.0.0.1:{spans}", "0.0.0.0:13133": f"127.0.0.1:{health}"}
            own |= {"0.0.0.0:16686": f"127.0.0.1:{page}", "/spans/": f"{folder}/spans/"}
            _started(stack, folder, "jaeger", own, jaeger)
            until(lambda: _accepts(f"http://127.0.0.1:{page}"), (folder / "jaeger.log").read_text)
        _started(stack, folder, "collector", places | here, collector)
        until(lambda: _accepts(f"http://127.0.0.1:{port}"), (folder / "collector.log").read_text)
        yield Stores(f"http://127.0.0.1:{port}", logs, f"http://127.0.0.1:{page}" if jaeger else None)


@pytest.fixture(scope="module")
def pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair], stores: Stores) -> Iterator[Pair]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": stores.collector}
    started = start_pair(make_bundle("heart-disease", "logistic_regression"), environment=environment)
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "request-17"}
    for row, code in ((started.bundle.golden.rows[0], 200), ([987654.321] * len(started.bundle.spec.features), 400)):
        assert http.post(started.predict_url, json={"instances": [row]}, headers=headers).status_code == code
    yield started
    started.end()


def test_a_line_is_found_by_its_trace_and_its_request(pair: Pair, stores: Stores) -> None:
    (line,) = until(lambda: lines(stores.logs, f'trace_id:"{TRACE}" request_id:"request-17"'))
    assert line["service.name"] == f"{pair.bundle.spec.name}-transformer"
    assert "987654" not in str(lines(stores.logs, "*"))


def test_a_trace_is_found_by_its_id_with_both_servers(pair: Pair, stores: Stores) -> None:
    if stores.traces is None:
        pytest.skip("there is no jaeger here, which takes minutes to build: make test-tools TRACES=1")

    def services() -> set[str]:
        answer = http.get(f"{stores.traces}/api/traces/{TRACE}")
        found: list[dict[str, Any]] = answer.json()["data"] if answer.status_code == 200 else []
        return {process["serviceName"] for trace in found for process in trace["processes"].values()}

    name = pair.bundle.spec.name
    until(lambda: services() == {f"{name}-transformer", f"{name}-predictor"})
    assert "987654" not in http.get(f"{stores.traces}/api/traces/{TRACE}").text


def test_the_dashboard_leads_from_a_slow_request_to_its_trace_and_its_lines(pair: Pair, stores: Stores) -> None:
    if stores.traces is None:
        pytest.skip("there is no jaeger here, which takes minutes to build: make test-tools TRACES=1")
    slow, name = "5cf92f3577b34da6a3ce929d0e0e4736", pair.bundle.spec.name
    pair.predictor.send(signal.SIGSTOP)
    threading.Timer(0.5, pair.predictor.send, [signal.SIGCONT]).start()
    headers = {"traceparent": f"00-{slow}-00f067aa0ba902b7-01"}
    asked = http.post(pair.predict_url, json={"instances": [pair.bundle.golden.rows[0]]}, headers=headers)
    assert asked.status_code == 200
    (panel,) = (one for one in DASHBOARD["panels"] if one["datasource"]["uid"] == "jaeger")
    (search,) = panel["targets"]
    # In Grafana's words to Jaeger.
    words = {key: search[key] for key in ("minDuration", "limit")}
    words["service"] = search["service"].replace("$model", name)

    def listed() -> set[str]:
        return {one["traceID"] for one in http.get(f"{stores.traces}/api/traces", params=words).json()["data"]}

    until(lambda: slow in listed())
    assert TRACE not in listed()
    (properties,) = (one["properties"] for one in panel["fieldConfig"]["overrides"])
    addresses = [urlsplit(link["url"].replace("${__value.raw}", slow)) for link in properties[0]["value"]]
    (query,) = json.loads(parse_qs(addresses[0].query)["panes"][0])["a"]["queries"]
    (found,) = http.get(f"{stores.traces}/api/traces/{query['query']}").json()["data"]
    assert {one["serviceName"] for one in found["processes"].values()} == {f"{name}-transformer", f"{name}-predictor"}
    (of_lines,) = parse_qs(urlsplit(addresses[1].fragment).query)["query"]
    assert until(lambda: [line["_msg"] for line in lines(stores.logs, of_lines)]) == ["request was slow"]


def test_victoria_logs_takes_the_options_that_it_is_given(render: Render, tmp_path: Path) -> None:
    ((_, container, _),) = (one for one in containers(render("kind")) if one[0].startswith("Deployment/victoria-logs/"))
    options = [word for word in container["args"] if not word.startswith("-storageDataPath=")]
    with victoria_logs(tmp_path, *options) as url:
        assert lines(url, "*") == []


@pytest.mark.parametrize("part", ["kind", "staging", "production"])
def test_every_server_knows_the_collector_and_may_reach_it(part: str, render: Render) -> None:
    documents = [*render(part), *render(f"{part}/model")]
    address = "http://collector.healthrisk.svc:4318"
    told = {
        name
        for name, container, _ in containers(documents)
        if {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": address} in container.get("env", ())
    }
    assert len(told) == 3, told
    policies = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"}
    (rule,) = policies["collector"]["ingress"]
    assert rule["from"] == [{"podSelector": policies["to-collector"]["podSelector"]}]


def test_a_small_cluster_has_none_of_it(render: Render) -> None:
    names = {one["metadata"]["name"] for one in [*render("small"), *render("small/model")]}
    assert names.isdisjoint({"collector", "jaeger", "victoria-logs", "to-collector"})
    assert "OTEL_EXPORTER" not in str(render("small/model"))
