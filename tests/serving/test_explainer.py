"""The explainer as a real process beside transformer and predictor: it adds up to what they serve, in words."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.bundle import Bundle
from healthrisk.serving.admission import Limits
from healthrisk.serving.servers.explainer import MAX_ROWS
from tests.support import heavy, http
from tests.support.patience import ANSWER, until
from tests.support.servers import PATIENT, Pair, Server

Rows = Callable[..., list[dict[str, Any]]]

pytestmark = pytest.mark.slow


def started(bundle: Path, folder: Path) -> Server:
    # KServe injects the predictor's host; nothing listens there.
    return (
        Server("explainer.py", bundle, folder / "explainer.log", ("--predictor_host=127.0.0.1:1", *PATIENT))
        .fork()
        .wait()
    )


@pytest.fixture(scope="module")
def heart_explainer(heart_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = started(heart_pair.bundle.path, tmp_path_factory.mktemp("explainer"))
    yield server
    server.end()


@pytest.fixture(scope="module")
def obesity_explainer(obesity_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = started(obesity_pair.bundle.path, tmp_path_factory.mktemp("explainer"))
    yield server
    server.end()


def v1(server: Server, bundle: Bundle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = http.post(f"{server.url}/v1/models/{bundle.spec.name}:explain", json={"instances": rows})
    answer.raise_for_status()
    explanations: list[dict[str, Any]] = answer.json()["explanations"]
    return explanations


def v2(url: str, inputs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    answer = http.post(url, json={"inputs": inputs})
    answer.raise_for_status()
    return {out["name"]: np.array(out["data"]).reshape(out["shape"]) for out in answer.json()["outputs"]}


def test_v1_adds_up_to_the_probability_that_the_transformer_serves(
    heart_pair: Pair, heart_explainer: Server, raw_rows: Rows
) -> None:
    rows = raw_rows(heart_pair.bundle.path)[:10]
    served = http.post(heart_pair.predict_url, json={"instances": rows}).json()["predictions"]
    for row, prediction, explanation in zip(rows, served, v1(heart_explainer, heart_pair.bundle, rows), strict=True):
        total = explanation["base"] + sum(one["contribution"] for one in explanation["contributions"])
        assert total == pytest.approx(prediction["probability"], abs=1e-6)
        assert (explanation["outcome"], explanation["class"]) == ("disease", 1)
        assert {one["feature"] for one in explanation["contributions"]} == set(row)
        sizes = [abs(one["contribution"]) for one in explanation["contributions"]]
        assert sizes == sorted(sizes, reverse=True)


def test_values_are_given_in_words(heart_pair: Pair, heart_explainer: Server, raw_rows: Rows) -> None:
    row = raw_rows(heart_pair.bundle.path)[0] | {"chol": None, "cp": 4, "age": 63}
    (explanation,) = v1(heart_explainer, heart_pair.bundle, [row])
    shown = {one["label"]: one["value"] for one in explanation["contributions"]}
    assert shown["Chest pain"] == "asymptomatic"
    assert shown["Age"] == "63 years"
    assert shown["Serum cholesterol"] == "missing"


@pytest.mark.parametrize("dataset", ["heart", "obesity"])
def test_v2_adds_up_for_every_class(
    dataset: str,
    raw_rows: Rows,
    as_tensors: Callable[..., list[dict[str, Any]]],
    request: pytest.FixtureRequest,
) -> None:
    pair: Pair = request.getfixturevalue(f"{dataset}_pair")
    server: Server = request.getfixturevalue(f"{dataset}_explainer")
    inputs = as_tensors(pair.bundle, raw_rows(pair.bundle.path)[:5])
    name, classes = pair.bundle.spec.name, len(pair.bundle.spec.target.classes)
    served = v2(pair.infer_url, [*inputs])["probability"]
    for path in (f"/v2/models/{name}/explain", f"/v2/models/{name}/versions/{pair.bundle.version}/explain"):
        explained = v2(f"{server.url}{path}", inputs)
        assert explained["contribution"].shape == (5, len(pair.bundle.spec.features), classes)
        assert explained["base"] + explained["contribution"].sum(axis=1) == pytest.approx(served, abs=1e-6)
        assert explained["probability"] == pytest.approx(served, abs=1e-6)
        assert (explained["standard_error"] >= 0).all()


def test_grpc_explains_too(
    heart_pair: Pair, heart_explainer: Server, raw_rows: Rows, as_tensors: Callable[..., list[dict[str, Any]]]
) -> None:
    message = pb.ModelInferRequest(model_name=heart_pair.bundle.spec.name)
    for tensor in as_tensors(heart_pair.bundle, raw_rows(heart_pair.bundle.path)[:2]):
        added = message.inputs.add(name=tensor["name"], datatype="FP64", shape=[2])
        added.contents.fp64_contents.extend(float("nan") if value is None else value for value in tensor["data"])
    with grpc.insecure_channel(heart_explainer.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=ANSWER)
    explained = {
        out.name: np.frombuffer(raw).reshape(out.shape)
        for out, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
    assert explained["base"] + explained["contribution"].sum(axis=1) == pytest.approx(
        explained["probability"], abs=1e-6
    )


def test_bad_input_is_refused_as_the_transformer_does(
    heart_pair: Pair, heart_explainer: Server, raw_rows: Rows
) -> None:
    url = f"{heart_explainer.url}/v1/models/{heart_pair.bundle.spec.name}:explain"
    rows = raw_rows(heart_pair.bundle.path)
    wrong = http.post(url, json={"instances": [rows[0] | {"cp": 0}]})
    assert (wrong.status_code, wrong.json()["feature"]) == (400, "cp")
    many = http.post(url, json={"instances": rows[:65]})
    assert (many.status_code, "at most 64" in many.json()["error"]) == (413, True)
    assert http.post(url.replace(":explain", ":predict"), json={"instances": rows[:1]}).status_code == 404
    transformer = heart_pair.predict_url.replace(":predict", ":explain")
    assert http.post(transformer, json={"instances": rows[:1]}).status_code == 404


def test_metadata_and_openapi_say_what_it_does(heart_pair: Pair, heart_explainer: Server) -> None:
    name = heart_pair.bundle.spec.name
    described = http.get(f"{heart_explainer.url}/v2/models/{name}").json()
    assert described["platform"] == "healthrisk_explainer"
    assert [out["name"] for out in described["outputs"]] == ["probability", "base", "contribution", "standard_error"]
    paths = http.get(f"{heart_explainer.url}/openapi.json").json()["paths"]
    assert {f"/v1/models/{name}:explain", f"/v2/models/{name}/explain"} <= set(paths)


def test_others_are_answered_while_rows_are_explained(
    obesity_pair: Pair, obesity_explainer: Server, raw_rows: Rows
) -> None:
    """A server that explains says so itself, again and again, before the explanation is there."""
    rows = raw_rows(obesity_pair.bundle.path)[:60]
    under_way = f'predictions_in_flight{{model="{obesity_pair.bundle.spec.name}"}} 1.0'
    seen = 0
    with http.client() as prober, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(v1, obesity_explainer, obesity_pair.bundle, rows)
        while not answer.done():
            seen += under_way in prober.get(obesity_explainer.metrics).text
    assert len(answer.result()) == len(rows)
    assert seen > 5


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_what_nobody_waits_for_is_not_computed(
    obesity_pair: Pair, obesity_explainer: Server, raw_rows: Rows, as_tensors: Callable[..., Any], protocol: str
) -> None:
    """A client that leaves is counted as such, not as one that got its explanations."""
    rows, name = raw_rows(obesity_pair.bundle.path)[:64], obesity_pair.bundle.spec.name

    def page() -> str:
        return http.get(obesity_explainer.metrics).text

    counted = "v1" if protocol == "REST" else "grpc"
    left = re.compile(rf'^prediction_requests_total.*code="499".*protocol="{counted}"', re.MULTILINE)
    under_way = f'predictions_in_flight{{model="{name}"}} 1.0'
    assert not left.search(page())
    if protocol == "REST":
        body = json.dumps({"instances": rows}).encode()
        head = f"POST /v1/models/{name}:explain HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", obesity_explainer.ports[0])) as connection:
            connection.sendall(head.encode() + body)
            until(lambda: under_way in page())
    else:
        message = pb.ModelInferRequest(model_name=name)
        for tensor in as_tensors(obesity_pair.bundle, rows):
            contents = message.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=[len(rows)]).contents
            if tensor["datatype"] == "BYTES":
                contents.bytes_contents.extend(str(value or "").encode() for value in tensor["data"])
            else:
                contents.fp64_contents.extend(float("nan") if value is None else value for value in tensor["data"])
        with grpc.insecure_channel(obesity_explainer.grpc) as channel:
            call = GRPCInferenceServiceStub(channel).ModelInfer.future(message, timeout=ANSWER)
            until(lambda: under_way in page())
            call.cancel()
    until(lambda: left.search(page()))


def test_explanations_have_a_deadline(heart_pair: Pair, raw_rows: Rows, tmp_path: Path) -> None:
    options = ("--predictor_host=127.0.0.1:1", *PATIENT, "--answer_seconds=0.001")
    server = Server("explainer.py", heart_pair.bundle.path, tmp_path / "log", options).fork().wait()
    try:
        rows = raw_rows(heart_pair.bundle.path)[:64]
        url = f"{server.url}/v1/models/{heart_pair.bundle.spec.name}:explain"
        answer = http.post(url, json={"instances": rows})
        assert (answer.status_code, "send fewer" in answer.json()["error"]) == (504, True)
    finally:
        server.end()


def test_values_that_nest(heart_pair: Pair, heart_explainer: Server, raw_rows: Rows) -> None:
    row = raw_rows(heart_pair.bundle.path)[0] | {"age": "DEEP"}
    body = json.dumps({"instances": [row]}).encode().replace(b'"DEEP"', b"[" * 1000 + b"]" * 1000)
    answer = http.post(f"{heart_explainer.url}/v1/models/{heart_pair.bundle.spec.name}:explain", content=body)
    assert (answer.status_code, "age is a list" in answer.json()["error"]) == (400, True)


def test_bodies_are_read_one_after_the_other_and_not_kept(heart_pair: Pair, tmp_path: Path) -> None:
    """Of those that become as large as one may, and of good ones whose explanation waits for its turn."""
    server = started(heart_pair.bundle.path, tmp_path)
    forms = heavy.weightiest(Limits.max_body_bytes, Limits.max_parsed_bytes)
    large = [forms["lists, just allowed"], forms["empty texts, just allowed"]]
    rows = json.dumps({"instances": heart_pair.bundle.golden.rows[:1] * MAX_ROWS}).encode()
    good = b" " * (Limits.max_body_bytes - len(rows)) + rows
    url = f"{server.url}/v1/models/{heart_pair.bundle.spec.name}:explain"
    before = server.rss()
    try:
        with ThreadPoolExecutor(12) as clients:
            bodies = [*large, good] * 12
            codes = [answer.status_code for answer in clients.map(lambda body: http.post(url, content=body), bodies)]
        assert set(codes) <= {200, 400, 503}
        assert {200, 400} <= set(codes)
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())[1]) * 1024 / 1e6
        assert peak - before < (Limits.max_parsed_bytes + Limits.max_held_bytes) / 1e6 * 1.2
    finally:
        server.end()
