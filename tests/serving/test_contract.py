"""The v2 and v1 contract: metadata, identifiers, outputs, missing values, and an answer to everything that is wrong."""

import copy
import json
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.support.patience import ANSWER

Make = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def row(heart_pair: Any) -> dict[str, Any]:
    """A row without missing values, out of the middle of what the spec allows."""
    values = {}
    for column in heart_pair.bundle.spec.columns:
        low, high = column.range or (0, 0)
        values[column.name] = next(iter(column.code_values)) if column.kind == "code" else (low + high) // 2
    return values


@pytest.fixture
def request_of(heart_pair: Any, as_tensors: Make) -> Callable[..., dict[str, Any]]:
    return lambda *rows, **more: {"inputs": as_tensors(heart_pair.bundle, list(rows)), **more}


def test_metadata(heart_pair: Any, client: httpx.Client) -> None:
    spec, version = heart_pair.bundle.spec, heart_pair.bundle.version
    url = f"{heart_pair.transformer.url}/v2/models/{spec.name}"
    described = client.get(url).raise_for_status().json()
    assert [tensor["name"] for tensor in described["inputs"]] == list(spec.features)
    assert all(tensor["shape"] == [-1] for tensor in described["inputs"])
    assert [tensor["name"] for tensor in described["outputs"]] == ["prediction", "probability", "risk_level"]
    assert described["versions"] == [version]
    assert described["platform"]
    assert client.get(f"{url}/versions/{version}").json() == described
    assert client.get(f"{heart_pair.predictor.url}/v2/models/{spec.name}").json()["platform"] == "onnx_onnxv1"
    with grpc.insecure_channel(heart_pair.transformer.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelMetadata(
            pb.ModelMetadataRequest(name=spec.name), timeout=ANSWER
        )
    assert [tensor.name for tensor in answer.inputs] == list(spec.features)
    assert list(answer.versions) == [version]


@pytest.mark.parametrize("path", ["/v2/models/NAME/ready", "/v2/models/NAME/versions/VERSION/ready", "/v1/models/NAME"])
def test_model_ready(heart_pair: Any, client: httpx.Client, path: str) -> None:
    path = path.replace("NAME", heart_pair.bundle.spec.name).replace("VERSION", heart_pair.bundle.version)
    answer = client.get(heart_pair.transformer.url + path).raise_for_status().json()
    assert answer == {"name": heart_pair.bundle.spec.name, "ready": True}


def test_server_metadata_and_health(heart_pair: Any, client: httpx.Client) -> None:
    for url in (heart_pair.transformer.url, heart_pair.predictor.url):
        extensions = client.get(f"{url}/v2").json()["extensions"]
        assert extensions == ["binary_tensor_data", "model_configuration", "statistics"]
        assert client.get(f"{url}/v2/health/live").json() == {"live": True}
        assert client.get(f"{url}/v2/health/ready").json() == {"ready": True}
    with grpc.insecure_channel(heart_pair.transformer.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=ANSWER).live
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=ANSWER).ready
        assert stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=ANSWER).name == "healthrisk"
        assert stub.ModelReady(pb.ModelReadyRequest(name=heart_pair.bundle.spec.name), timeout=ANSWER).ready


def test_id_is_echoed(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    assert client.post(heart_pair.infer_url, json=request_of(row, id="ü-1")).json()["id"] == "ü-1"
    assert "id" not in client.post(heart_pair.infer_url, json=request_of(row)).json()


def test_only_the_outputs_asked_for(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    answer = client.post(heart_pair.infer_url, json=request_of(row, outputs=[{"name": "risk_level"}])).json()
    assert [output["name"] for output in answer["outputs"]] == ["risk_level"]


def test_version_in_the_path(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    url = heart_pair.infer_url.replace("/infer", f"/versions/{heart_pair.bundle.version}/infer")
    assert (
        client.post(url, json=request_of(row)).json() == client.post(heart_pair.infer_url, json=request_of(row)).json()
    )


def test_missing_values_are_imputed_and_named(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    spec = heart_pair.bundle.spec
    optional = [column.name for column in spec.columns if column.missing.allowed]
    sentinels = {column.name: column.missing.values[0] for column in spec.columns if column.missing.values}
    some = {**row, optional[0]: None, **sentinels}
    answer = client.post(heart_pair.infer_url, json=request_of(row, some)).raise_for_status().json()
    assert json.loads(answer["parameters"]["imputed"]) == {
        name: [1] for name in spec.features if name in {optional[0], *sentinels}
    }
    blank = {**some, **dict.fromkeys(sentinels)}
    assert client.post(heart_pair.infer_url, json=request_of(row, blank)).json()["outputs"] == answer["outputs"]
    assert "imputed" not in client.post(heart_pair.infer_url, json=request_of(row)).json()["parameters"]


def test_nan_is_missing(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    optional = next(column.name for column in heart_pair.bundle.spec.columns if column.missing.allowed)
    body = json.dumps(request_of({**row, optional: float("nan")}, id='NaN in "quotes" stays NaN'))
    assert "NaN" in body
    answer = client.post(heart_pair.infer_url, content=body).raise_for_status().json()
    assert json.loads(answer["parameters"]["imputed"]) == {optional: [0]}
    assert answer["id"] == 'NaN in "quotes" stays NaN'


def column_of(pair: Any, **wanted: Any) -> Any:
    return next(
        column for column in pair.bundle.spec.columns if all(getattr(column, k) == v for k, v in wanted.items())
    )


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("number", 1e9, "range"),
        ("number", -1e9, "range"),
        ("number", "high", "type"),
        ("number", True, "type"),
        ("number", [[1]], "type"),
        ("number", 10**30, "range"),
        ("integer", 40.5, "range"),
        ("code", 99, "code"),
        ("code", 1.5, "code"),
        ("code", "male", "type"),
        ("integer", None, "missing"),
    ],
)
def test_bad_values_are_named(
    heart_pair: Any, client: httpx.Client, row: Any, request_of: Any, kind: str, value: Any, reason: str
) -> None:
    column = column_of(heart_pair, kind=kind)
    answer = client.post(heart_pair.infer_url, json=request_of(row, {**row, column.name: value}))
    assert answer.status_code == 400, answer.text
    error = answer.json()
    assert set(error) == {"error", "row", "feature", "value", "allowed"}
    assert (error["row"], error["feature"], error["allowed"]) == (1, column.name, column.allowed)
    assert column.allowed in error["error"]
    metrics = client.get(heart_pair.transformer.metrics).text
    assert f'prediction_rejected_total{{model="{heart_pair.bundle.spec.name}",reason="{reason}"}}' in metrics
    v1 = client.post(heart_pair.predict_url, json={"instances": [row, {**row, column.name: value}]})
    assert v1.status_code == 400
    assert v1.json()["feature"] == column.name


def test_bounds_are_inclusive_also_in_fp32(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    for column in heart_pair.bundle.spec.columns:
        for bound in column.range or ():
            request = request_of({**row, column.name: bound})
            for tensor in request["inputs"]:
                tensor["datatype"] = "FP32"
            assert client.post(heart_pair.infer_url, json=request).status_code == 200


def test_whole_numbers_in_any_json_form(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    """JSON knows no integers, and tables with missing values make them 1.0; 1.5 does not fit its tensor."""
    number = column_of(heart_pair, kind="number")
    request = request_of({name: float(value) for name, value in row.items()})
    for tensor in request["inputs"]:
        tensor["datatype"] = "INT64"
    client.post(heart_pair.infer_url, json=request).raise_for_status()
    for tensor in request["inputs"]:
        if tensor["name"] == number.name:
            tensor["data"][0] += 0.5
    error = client.post(heart_pair.infer_url, json=request).json()
    assert (error["feature"], error["value"] % 1) == (number.name, 0.5)
    assert "no fraction in an INT tensor" in error["allowed"]


def edits() -> dict[str, tuple[Callable[[dict[str, Any]], Any], str]]:
    """Return ways to mutate a request, and a word that the error must hold."""
    first: Callable[[Any], Any] = lambda request: request["inputs"][0]  # noqa: E731
    return {
        "no inputs": (lambda request: request.pop("inputs"), "inputs"),
        "empty inputs": (lambda request: request.update(inputs=[]), "inputs"),
        "inputs no list": (lambda request: request.update(inputs={"a": 1}), "inputs"),
        "input no object": (lambda request: request.update(inputs=[1]), "object"),
        "missing feature": (lambda request: request["inputs"].pop(), "is missing"),
        "unknown feature": (lambda request: first(request).update(name="shoe size"), "shoe size"),
        "twice the same": (lambda request: request["inputs"].append(copy.deepcopy(first(request))), "twice"),
        "no name": (lambda request: first(request).pop("name"), "name"),
        "unknown datatype": (lambda request: first(request).update(datatype="COMPLEX64"), "COMPLEX64"),
        "wrong datatype": (lambda request: first(request).update(datatype="BYTES"), "BYTES"),
        "boolean": (lambda request: first(request).update(datatype="BOOL", data=[True]), "BOOL"),
        "fraction in INT64": (lambda request: first(request).update(datatype="INT64", data=[40.5]), "whole number"),
        "no shape": (lambda request: first(request).pop("shape"), "shape"),
        "shape mismatch": (lambda request: first(request).update(shape=[2]), "shape"),
        "wrong length": (lambda request: first(request).update(data=[40, 41]), "do not fill"),
        "negative shape": (lambda request: first(request).update(shape=[-1]), "shape"),
        "shape of texts": (lambda request: first(request).update(shape=["1"]), "shape"),
        "no rows": (lambda request: [one.update(shape=[0], data=[]) for one in request["inputs"]], "no rows"),
        "data no list": (lambda request: first(request).update(data=40), "data"),
        "data and binary": (lambda request: first(request).update(parameters={"binary_data_size": 8}), "both"),
        "parameters no object": (lambda request: first(request).update(parameters=[1]), "parameters"),
        "id no string": (lambda request: request.update(id=7), "id"),
        "unknown output": (lambda request: request.update(outputs=[{"name": "horoscope"}]), "horoscope"),
        "outputs no list": (lambda request: request.update(outputs="all"), "outputs"),
        "output without name": (lambda request: request.update(outputs=[{}]), "name"),
    }


@pytest.mark.parametrize("edit", edits())
def test_bad_requests(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any, edit: str) -> None:
    request = request_of(row)
    mutate, word = edits()[edit]
    mutate(request)
    answer = client.post(heart_pair.infer_url, json=request)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"NaN", b'{"a": Infinity}', b"[" * 10_000, b'{"inputs":' * 5000]
)
@pytest.mark.parametrize("url", ["infer_url", "predict_url"])
def test_bodies_that_are_no_request(heart_pair: Any, client: httpx.Client, body: bytes, url: str) -> None:
    answer = client.post(getattr(heart_pair, url), content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "instances",
    [None, [], {}, [1], [[1, 2]], [{}], [{"shoe size": 1}], "rows"],
)
def test_bad_instances(heart_pair: Any, client: httpx.Client, instances: Any) -> None:
    answer = client.post(heart_pair.predict_url, json={"instances": instances})
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["", "-1", "x", "99999999999999999999", "1000000"])
def test_bad_binary_length(heart_pair: Any, client: httpx.Client, length: str) -> None:
    headers = {"content-type": "application/octet-stream"} | (
        {"inference-header-content-length": length} if length else {}
    )
    answer = client.post(heart_pair.infer_url, content=b"{}", headers=headers)
    assert answer.status_code == 400
    assert "ength" in answer.json()["error"]


def test_truncated_and_surplus_binary(heart_pair: Any, client: httpx.Client, row: Any) -> None:
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}} for name in row]
    head = json.dumps({"inputs": inputs}).encode()
    tail = np.array(list(row.values()), dtype="<f8").tobytes()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    assert client.post(heart_pair.infer_url, content=head + tail, headers=headers).status_code == 200
    for wrong in (tail[:-1], tail + b"x", b""):
        assert client.post(heart_pair.infer_url, content=head + wrong, headers=headers).status_code == 400


def test_not_found_and_wrong_methods(heart_pair: Any, client: httpx.Client) -> None:
    base, name = heart_pair.transformer.url, heart_pair.bundle.spec.name
    for path in (
        "/v2/models/other/infer",
        f"/v2/models/{name}/versions/7/infer",
        f"/v2/models/{name}/explain",
        "/v1/models/other:predict",
        f"/v1/models/{name}:explain",
        f"/v2/repository/models/{name}/unload",
        f"/v2/repository/models/{name}/load",
        "/nowhere",
    ):
        answer = client.post(base + path, json={})
        assert answer.status_code == 404, path
        assert answer.json()["error"]
    for path in ("/v2/models/other", "/v2/repository/index", "/docs", "/metrics"):
        answer = client.get(base + path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]
    for method, url in (
        ("GET", heart_pair.infer_url),
        ("POST", f"{base}/v2/models/{name}"),
        ("DELETE", f"{base}/openapi.json"),
    ):
        answer = client.request(method, url)
        assert answer.status_code == 405
        assert answer.headers["allow"]
        assert answer.json()["error"]


@pytest.mark.parametrize("kind", ["text/csv", "application/x-www-form-urlencoded", "application/xml; charset=utf-8"])
def test_content_types(heart_pair: Any, client: httpx.Client, kind: str) -> None:
    for url in (heart_pair.infer_url, heart_pair.predict_url):
        answer = client.post(url, content=b"{}", headers={"content-type": kind})
        assert answer.status_code == 415
        assert "application/json" in answer.json()["error"]


def test_too_many_rows(heart_pair: Any, client: httpx.Client, row: Any, request_of: Any) -> None:
    for answer in (
        client.post(heart_pair.infer_url, json=request_of(*[row] * 2001)),
        client.post(heart_pair.predict_url, json={"instances": [list(row.values())] * 2001}),
    ):
        assert answer.status_code == 413
        assert "at most 2000" in answer.json()["error"]


def test_a_table_in_several_calls(obesity_pair: Any, client: httpx.Client, raw_rows: Any, offline: Any) -> None:
    """More rows than one call of the predictor takes come back whole and in order."""
    rows = raw_rows(obesity_pair.bundle.path)
    expected = np.tile(offline(obesity_pair.bundle, rows), (10, 1))
    answer = client.post(obesity_pair.predict_url, json={"instances": rows * 10}).raise_for_status().json()
    served = np.array([list(row["probability"].values()) for row in answer["predictions"]])
    assert len(served) == 10_000
    assert np.abs(served - expected).max() <= 1e-6


@pytest.fixture
def stub(heart_pair: Any) -> Any:
    with grpc.insecure_channel(heart_pair.transformer.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def message_of(pair: Any, row: dict[str, Any]) -> Any:
    message = pb.ModelInferRequest(model_name=pair.bundle.spec.name)
    for name, value in row.items():
        tensor = message.inputs.add(name=name, datatype="FP64", shape=[1])
        tensor.contents.fp64_contents.append(value)
    return message


@pytest.mark.parametrize(
    ("mutate", "status"),
    [
        (
            lambda message: message.inputs[0].contents.fp64_contents.__setitem__(0, 1e9),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (lambda message: message.inputs.pop(), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.inputs[0].ClearField("contents"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.inputs[0].contents.fp64_contents.append(1), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.ClearField("inputs"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: setattr(message.inputs[0], "datatype", "FP16"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: setattr(message.inputs[0], "datatype", ""), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.raw_input_contents.append(b"abc"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.inputs[0].shape.append(-1), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: message.outputs.add(name="horoscope"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda message: setattr(message, "model_name", "other"), grpc.StatusCode.NOT_FOUND),
        (lambda message: setattr(message, "model_version", "7"), grpc.StatusCode.NOT_FOUND),
    ],
)
def test_grpc_errors(heart_pair: Any, stub: Any, row: Any, mutate: Any, status: grpc.StatusCode) -> None:
    message = message_of(heart_pair, row)
    stub.ModelInfer(message, timeout=ANSWER)
    mutate(message)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=ANSWER)
    assert caught.value.code() is status, caught.value.details()
    assert caught.value.details()


def test_grpc_limits(heart_pair: Any, stub: Any, row: Any) -> None:
    message = message_of(heart_pair, row)
    message.parameters["padding"].string_param = "x" * 2**20
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=ANSWER)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_grpc_too_many_rows(heart_pair: Any, stub: Any, row: Any) -> None:
    message = message_of(heart_pair, row)
    for tensor in message.inputs:
        tensor.shape[0] = 2001
        tensor.contents.fp64_contents.extend([tensor.contents.fp64_contents[0]] * 2000)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=ANSWER)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 2000" in caught.value.details()


def test_grpc_repository_is_off(heart_pair: Any, stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(model_name=heart_pair.bundle.spec.name), timeout=ANSWER
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_texts_as_codes(obesity_pair: Any, client: httpx.Client, raw_rows: Any, as_tensors: Make) -> None:
    (row,) = raw_rows(obesity_pair.bundle.path)[:1]
    column = next(column for column in obesity_pair.bundle.spec.columns if column.is_text)
    for value in ("dragon", 1, None, "?"):
        answer = client.post(
            obesity_pair.infer_url, json={"inputs": as_tensors(obesity_pair.bundle, [{**row, column.name: value}])}
        )
        assert answer.status_code == 400
        assert answer.json()["feature"] == column.name
    optional = next(column for column in obesity_pair.bundle.spec.columns if column.is_text and column.missing.allowed)
    answers = [
        client.post(
            obesity_pair.infer_url, json={"inputs": as_tensors(obesity_pair.bundle, [{**row, optional.name: value}])}
        ).json()
        for value in (None, "", "?")
    ]
    assert answers[0] == answers[1] == answers[2]
    assert optional.name in answers[0]["parameters"]["imputed"]
    matrix = {"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": [0.0] * len(row)}
    answer = client.post(obesity_pair.infer_url, json={"inputs": [matrix]})
    assert answer.status_code == 400
    assert "BYTES" in answer.json()["error"]
