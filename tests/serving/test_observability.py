"""What is seen from outside: metrics that a real Prometheus scrapes, logs without values, traces across the hop."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from healthrisk.bundle import Bundle
from healthrisk.bundle.reference import CodeCounts
from healthrisk.serving.metrics import ServerMetrics
from tests.support import http
from tests.support.listening import Handler, listening
from tests.support.patience import until
from tests.support.prometheus import prometheus, wait_for
from tests.support.servers import Pair, Server, grpc_code

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), "--log_level=debug")
    yield pair
    pair.end()


def samples(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = http.get(server.metrics).raise_for_status().text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Any, name: str, **labels: str) -> float:
    return sum(
        number for (given, own), number in samples.items() if given == name and labels.items() <= dict(own).items()
    )


def ask(pair: Pair, rows: list[list[Any]], **headers: str) -> httpx.Response:
    return http.post(pair.predict_url, json={"instances": rows}, headers=headers)


def test_the_first_error_is_an_increase(bundle_of: Callable[..., Bundle]) -> None:
    """Prometheus sees none in the number that a series begins with, and so alerts would not see it either."""
    registry, bundle = CollectorRegistry(), bundle_of("heart-disease", "logistic_regression")
    ServerMetrics("heart-disease", bundle, registry)
    own = {"model": "heart-disease", "version": bundle.version}
    begun = {
        (protocol, code): registry.get_sample_value(
            "prediction_requests_total", {**own, "protocol": protocol, "code": code}
        )
        for protocol in ("v1", "v2", "grpc")
        for code in ("200", "500", "503", "504")
    }
    assert set(begun.values()) == {0}, begun


def test_metrics_count_what_happens(pair: Pair, raw_rows: Any, offline: Any) -> None:
    spec, version = pair.bundle.spec, pair.bundle.version
    before = samples(pair.transformer)
    rows = raw_rows(pair.bundle.path)
    ask(pair, [list(row.values()) for row in rows]).raise_for_status()
    assert ask(pair, [[1]]).status_code == 400
    assert grpc_code(pair) is grpc.StatusCode.OK
    assert http.post(pair.infer_url, content=b"{}").status_code == 400
    after = samples(pair.transformer)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    model = {"model": spec.name, "version": version}
    assert grown("prediction_requests_total", **model, protocol="v1", code="200") == 1
    assert grown("prediction_requests_total", **model, protocol="v1", code="400") == 1
    assert grown("prediction_requests_total", **model, protocol="grpc", code="200") == 1
    assert grown("prediction_requests_total", **model, protocol="v2", code="400") == 1
    bounds = {float(dict(labels)["le"]) for name, labels in after if name == "prediction_latency_seconds_bucket"}
    assert sorted(bounds)[0] == 0.0005
    assert sorted(bounds)[-2] == 5
    assert grown("prediction_latency_seconds_count", **model, protocol="v1") == 2
    assert grown("prediction_rejected_total", model=spec.name, reason="shape") == 1
    assert grown("predictor_hop_seconds_count", model=spec.name) == 2
    assert value(after, "predictions_in_flight", model=spec.name) == 0
    over_grpc = next(row for row in pair.bundle.golden.rows if None not in row)
    asked = [*rows, dict(zip(spec.features, over_grpc, strict=True))]
    classes = np.bincount(offline(pair.bundle, asked).argmax(axis=1))
    for cls, count in zip(spec.target.classes, classes, strict=True):
        assert grown("predictions_by_class_total", **model, **{"class": str(cls.value)}) == count
    info = {"digest": pair.bundle.digest, "revision": pair.bundle.manifest.git_revision}
    for server in (pair.transformer, pair.predictor):
        assert value(samples(server), "healthrisk_model_info", **model, **info) == 1


def test_distributions_of_the_training_rows_are_the_reference(pair: Pair, raw_rows: Any) -> None:
    """The rows that the reference was made of give exactly its counts."""
    before = samples(pair.transformer)
    ask(pair, [list(row.values()) for row in raw_rows(pair.bundle.path)]).raise_for_status()
    after = samples(pair.transformer)
    reference = pair.bundle.reference.features
    assert set(reference) == set(pair.bundle.spec.features)
    for feature, expected in reference.items():
        labels = {"feature": feature, "version": pair.bundle.version}

        def grown(name: str, labels: dict[str, str] = labels, **more: str) -> float:
            return value(after, name, **labels, **more) - value(before, name, **labels, **more)

        assert grown("feature_missing_total") == expected.missing
        if isinstance(expected, CodeCounts):
            counts = [grown("feature_codes_total", code=str(code)) for code in expected.codes]
            assert counts == list(expected.counts)
        else:
            bounds = [*(repr(float(edge)) for edge in expected.edges), "+Inf"]
            cumulated = [grown("feature_values_bucket", le=bound) for bound in bounds]
            assert cumulated == np.cumsum(expected.counts).tolist()


def test_one_request_tells_nothing_of_its_patient(pair: Pair) -> None:
    """Around one request the sums of two patients within the same bins grow alike, and are neither's value."""
    spec = pair.bundle.spec
    numbers = [column.name for column in spec.columns if column.kind != "code"]
    reference = pair.bundle.reference.features
    golden = dict(zip(spec.features, pair.bundle.golden.rows[0], strict=True))
    edges = reference["chol"].edges
    sums = []
    for chol in (edges[2] + 0.25, edges[3] - 0.25):
        before = samples(pair.transformer)
        ask(pair, [list({**golden, "chol": chol}.values())]).raise_for_status()
        after = samples(pair.transformer)
        grown = {
            name: value(after, "feature_values_sum", feature=name) - value(before, "feature_values_sum", feature=name)
            for name in numbers
        }
        assert grown["chol"] not in {chol, 0.0}
        assert grown["chol"] == pytest.approx((edges[2] + edges[3]) / 2)
        sums.append(grown)
    assert sums[0] == pytest.approx(sums[1])


def test_metrics_are_on_their_own_port_alone(pair: Pair) -> None:
    for server in (pair.transformer, pair.predictor):
        refused = http.get(f"{server.url}/metrics")
        assert refused.status_code == 404
        assert "prediction_requests_total" not in refused.text
        page = server.metrics
        assert http.post(page).status_code == 404
        infer = page.replace("/metrics", f"/v2/models/{pair.bundle.spec.name}")
        assert http.get(infer).status_code == 404


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool here: make test-tools")
def test_a_real_prometheus_scrapes_both(pair: Pair, tmp_path: Path) -> None:
    ask(pair, pair.bundle.golden.rows).raise_for_status()
    for server in (pair.transformer, pair.predictor):
        text = http.get(server.metrics).text
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        # 3 says that some name is not as it should be; the framework's own metrics are not ours to name.
        assert checked.returncode in {0, 3}, checked.stderr
        own = [
            line
            for line in (checked.stdout + checked.stderr).splitlines()
            if line.startswith(("pred", "feature", "healthrisk"))
        ]
        assert own == []
    addresses = [f"127.0.0.1:{server.ports[2]}" for server in (pair.transformer, pair.predictor)]
    name = pair.bundle.spec.name
    with prometheus(tmp_path, [{"targets": addresses}]) as url:
        wait_for(url, f'prediction_requests_total{{model="{name}",code="200"}} > 0')
        wait_for(url, 'feature_values_bucket{le="+Inf"}')
        assert {sample.value[1] for sample in wait_for(url, "up == 1", 2)} == {1}


def test_logs_are_json_and_hold_no_value(pair: Pair) -> None:
    """Send values that can be recognised, in every place of good and bad requests, and search all logs for them."""
    spec = pair.bundle.spec
    golden = dict(zip(spec.features, pair.bundle.golden.rows[0], strict=True))
    number = next(column.name for column in spec.columns if column.kind == "number" and column.range[1] > 150)
    good = {**golden, number: 123.4567}
    bodies = [
        {"instances": [good]},
        {"instances": [{**good, number: 987654.321}]},
        {"instances": [{**good, number: "MARK-text"}]},
        {"instances": [{**good, "MARK-name": 1}]},
        {"instances": "MARK-rows"},
        {"instances": [[987654.321]]},
    ]
    for body in bodies:
        http.post(pair.predict_url, json=body, headers={"x-request-id": "request-17", "traceparent": TRACEPARENT})
    for name, datatype in ((number, "FP64"), ("MARK-name", "FP64"), (number, "MARK-type")):
        tensor = {"name": name, "datatype": datatype, "shape": [1], "data": [987654.321]}
        http.post(pair.infer_url, json={"id": "MARK-id", "inputs": [tensor]})
    http.post(pair.infer_url, content=b'{"MARK-broken": 987654.321')
    http.post(f"{pair.transformer.url}/v2/models/MARK-model/infer", json={})
    for path in ("/v2/models", "/v1/models", "/openapi.json", "/"):
        http.get(pair.transformer.url + path).raise_for_status()
    logs = pair.logs()
    for mark in ("123.4567", "987654", "MARK"):
        assert mark not in logs
    lines = [json.loads(line) for line in logs.splitlines()]
    own = [line for line in lines if line.get("request_id") == "request-17"]
    assert {line["code"] for line in own} == {200, 400}
    assert {line["trace_id"] for line in own} == {TRACE}
    assert all(line["version"] == pair.bundle.version and line["protocol"] == "v1" for line in own)


def test_request_id_comes_back(pair: Pair) -> None:
    rows = pair.bundle.golden.rows[:1]
    assert ask(pair, rows, **{"x-request-id": "abc"}).headers["x-request-id"] == "abc"
    assert "two words" not in ask(pair, rows, **{"x-request-id": "two words"}).headers.values()
    assert ask(pair, [[1]]).headers["x-request-id"]


def test_traceparent_crosses_the_hop(pair: Pair) -> None:
    ask(pair, pair.bundle.golden.rows[:1], traceparent=TRACEPARENT).raise_for_status()
    other = TRACE[::-1]
    assert grpc_code(pair, traceparent=TRACEPARENT.replace(TRACE, other)) is grpc.StatusCode.OK
    lines = [json.loads(line) for line in pair.predictor.log.read_text().splitlines()]
    assert {TRACE, other} <= {line.get("trace_id") for line in lines}
    ask(pair, pair.bundle.golden.rows[:1], traceparent="00-nonsense").raise_for_status()
    assert "nonsense" not in pair.logs()


@contextmanager
def exporting(bundle: Path, start_pair: Callable[..., Pair], **environment: str) -> Iterator[tuple[Pair, list[bytes]]]:
    """Yield servers that export, and the bodies of what they have exported so far."""
    bodies: list[bytes] = []

    class Collector(Handler):
        def respond(self) -> None:
            body, packing = self.body(), self.headers.get("content-encoding", "")
            unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(packing, bytes)
            if self.path == "/v1/traces":
                bodies.append(unpack(body))
            self.answer()

    with listening(Collector) as url:
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        pair = start_pair(bundle, environment=sent | environment)
        try:
            yield pair, bodies
        finally:
            pair.end()


def test_a_slow_request_leaves_a_span_whatever_is_sampled(make_bundle: Any, start_pair: Callable[..., Pair]) -> None:
    bundle = make_bundle("heart-disease", "logistic_regression")
    with (
        exporting(bundle, start_pair, OTEL_TRACES_SAMPLER="always_off") as (pair, bodies),
        ThreadPoolExecutor() as pool,
    ):
        rows = pair.bundle.golden.rows[:1]
        os.kill(pair.predictor.pid, signal.SIGSTOP)
        answer = pool.submit(ask, pair, rows, traceparent=TRACEPARENT)
        with pytest.raises(TimeoutError):
            answer.result(0.5)
        os.kill(pair.predictor.pid, signal.SIGCONT)
        assert answer.result().status_code == 200
        slow = wait_for_spans(bodies, 1)[0]
    assert slow.trace_id.hex() == TRACE
    assert slow.end_time_unix_nano - slow.start_time_unix_nano >= 2e8


def test_spans_are_exported(make_bundle: Any, start_pair: Callable[..., Pair]) -> None:
    with exporting(make_bundle("heart-disease", "logistic_regression"), start_pair) as (pair, bodies):
        headers = [("traceparent", TRACEPARENT), ("tracestate", "one=1"), ("tracestate", "two=2")]
        rows = pair.bundle.golden.rows[:1]
        http.post(pair.predict_url, json={"instances": rows}, headers=headers).raise_for_status()
        names = pair.bundle.spec.features
        assert ask(pair, [[987654.0] * len(names)], traceparent=TRACEPARENT).status_code == 400
        spans = wait_for_spans(bodies, 3)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    by_id = {span.span_id: span for span in spans}
    (inner,) = [span for span in spans if span.parent_span_id in by_id]
    assert by_id[inner.parent_span_id].parent_span_id.hex() == "00f067aa0ba902b7"
    (refused,) = [span for span in spans if span.attributes]
    assert [span.trace_state for span in spans if span is not refused] == ["one=1,two=2"] * 2
    assert refused.trace_state == ""
    assert {one.key: one.value.string_value for one in refused.attributes} == {"error.type": "range"}
    assert not any(b"987654" in body for body in bodies)


def wait_for_spans(bodies: list[bytes], least: int) -> list[Any]:
    def received() -> list[Any] | None:
        requests = [trace_service.ExportTraceServiceRequest.FromString(body) for body in list(bodies)]
        spans = [
            span
            for one in requests
            for group in one.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        return spans if len(spans) >= least else None

    return until(received)
