"""What is served equals what is computed offline, for every row, over every protocol and form."""

import json
import math
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

import kserve
from healthrisk.inference.scorer import risk_levels
from healthrisk.serving.tensors import NUMPY_TYPES
from healthrisk.spec import Column
from tests.support.patience import ANSWER

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("served", ["heart", "obesity"])]


@pytest.fixture
def pair(served: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{served}_pair")


@pytest.fixture
def rows(pair: Any, raw_rows: Callable[..., Any]) -> list[dict[str, Any]]:
    return raw_rows(pair.bundle.path)


@pytest.fixture
def expected(pair: Any, rows: list[dict[str, Any]], offline: Callable[..., Any]) -> np.ndarray:
    return offline(pair.bundle, rows)


def outputs_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


def test_named_tensors(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client, as_tensors: Any) -> None:
    answer = client.post(pair.infer_url, json={"inputs": as_tensors(pair.bundle, rows)}).raise_for_status().json()
    outputs = outputs_of(answer)
    assert np.abs(np.reshape(outputs["probability"], expected.shape) - expected).max() <= 1e-6
    values = [cls.value for cls in pair.bundle.spec.target.classes]
    assert outputs["prediction"] == [values[k] for k in expected.argmax(axis=1)]
    assert outputs["risk_level"] == risk_levels(pair.bundle.spec, expected)
    assert answer["model_version"] == pair.bundle.version
    assert answer["parameters"]["digest"] == pair.bundle.digest


def test_one_row_at_a_time(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client, as_tensors: Any) -> None:
    for row, wanted in zip(rows[:50], expected, strict=False):
        answer = client.post(pair.infer_url, json={"inputs": as_tensors(pair.bundle, [row])}).raise_for_status().json()
        assert np.abs(np.array(outputs_of(answer)["probability"]) - wanted).max() <= 1e-6


def test_matrix(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client) -> None:
    text = any(column.is_text for column in pair.bundle.spec.columns)
    shape = [len(rows), len(pair.bundle.spec.columns)]
    for data in ([list(row.values()) for row in rows], [value for row in rows for value in row.values()]):
        tensor = {"name": "input-0", "datatype": "BYTES" if text else "FP64", "shape": shape, "data": data}
        answer = client.post(pair.infer_url, json={"inputs": [tensor]}).raise_for_status().json()
        assert np.abs(np.reshape(outputs_of(answer)["probability"], expected.shape) - expected).max() <= 1e-6


def test_v1(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client) -> None:
    body = json.dumps({"instances": rows})
    answer = client.post(pair.predict_url, content=body).raise_for_status().json()["predictions"]
    if pair.bundle.spec.is_binary:
        served, wanted = np.array([row["probability"] for row in answer]), expected[:, 1]
    else:
        served, wanted = np.array([list(row["probability"].values()) for row in answer]), expected
    assert np.abs(served - wanted).max() <= 1e-6
    assert [row["risk_level"] for row in answer] == risk_levels(pair.bundle.spec, expected)
    assert all(row["timestamp"].endswith("+00:00") for row in answer)
    assert [row.get("imputed", []) for row in answer] == [[name for name in row if row[name] is None] for row in rows]
    lists = client.post(pair.predict_url, json={"instances": [list(row.values()) for row in rows]}).json()[
        "predictions"
    ]
    assert [row["probability"] for row in lists] == [row["probability"] for row in answer]


def number_bytes(values: list[float], datatype: str) -> bytes:
    if datatype == "BF16":
        return (np.array(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.array(values, dtype=float).astype(NUMPY_TYPES[datatype]).tobytes()


def binary_body(
    bundle: Any, rows: list[dict[str, Any]], numbers: str = "FP64", **document: Any
) -> tuple[bytes, dict[str, str]]:
    inputs, tail = [], []
    for column in bundle.spec.columns:
        values = [row[column.name] for row in rows]
        if column.is_text:
            texts = [str(value or "").encode() for value in values]
            raw = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        else:
            raw = number_bytes(values, numbers)
        datatype = "BYTES" if column.is_text else numbers
        parameters = {"binary_data_size": len(raw)}
        inputs.append({"name": column.name, "datatype": datatype, "shape": [len(rows), 1], "parameters": parameters})
        tail.append(raw)
    head = json.dumps({"inputs": inputs, **document}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return head + b"".join(tail), headers


def test_binary(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client) -> None:
    body, headers = binary_body(
        pair.bundle, rows, outputs=[{"name": "probability", "parameters": {"binary_data": True}}]
    )
    answer = client.post(pair.infer_url, content=body, headers=headers).raise_for_status()
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["name"] == "probability"
    assert output["parameters"]["binary_data_size"] == len(answer.content) - length
    served = np.frombuffer(answer.content[length:], "<f4").reshape(output["shape"])
    assert np.abs(served - expected).max() <= 1e-6


def test_binary_texts_out(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client) -> None:
    body, headers = binary_body(pair.bundle, rows[:5], parameters={"binary_data_output": True})
    answer = client.post(pair.infer_url, content=body, headers=headers).raise_for_status()
    length = int(answer.headers["inference-header-content-length"])
    *_, levels = json.loads(answer.content[:length])["outputs"]
    raw, texts = answer.content[-levels["parameters"]["binary_data_size"] :], []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        texts.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    assert texts == risk_levels(pair.bundle.spec, expected[:5])


def whole(column: Column, value: Any) -> Any:
    """Return a whole number near a value, within the spec and every datatype; texts stay as they are."""
    if column.kind == "code":
        return value if column.is_text else int(value)
    return max(math.ceil(column.range[0]), min(round(value), 127), 0)


def test_every_datatype(pair: Any, rows: Any, offline: Any, client: httpx.Client, as_tensors: Any) -> None:
    """The same row in every INT, UINT and FP type: as JSON, as binary data, and by KServe's own message over gRPC."""
    given = next(row for row in rows if None not in row.values())
    row = {column.name: whole(column, given[column.name]) for column in pair.bundle.spec.columns}
    expected = offline(pair.bundle, [row])[0]
    for datatype in NUMPY_TYPES:
        body, headers = binary_body(pair.bundle, [row], datatype)
        tensors = as_tensors(pair.bundle, [row])
        for tensor in tensors:
            tensor["datatype"] = "BYTES" if tensor["datatype"] == "BYTES" else datatype
        answers = [
            client.post(pair.infer_url, content=body, headers=headers),
            client.post(pair.infer_url, json={"inputs": tensors}),
        ]
        served = [outputs_of(answer.raise_for_status().json())["probability"] for answer in answers]
        if datatype not in {"FP16", "BF16"}:
            inputs = [kserve.InferInput(**tensor) for tensor in tensors]
            message = kserve.InferRequest(pair.bundle.spec.name, inputs).to_grpc()
            with grpc.insecure_channel(pair.transformer.grpc) as channel:
                answer = GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=ANSWER)
            served.append(np.frombuffer(answer.raw_output_contents[1], "<f4"))
        for probabilities in served:
            assert np.abs(np.array(probabilities) - expected).max() <= 1e-6, datatype


@pytest.mark.parametrize("raw", [True, False])
def test_grpc(pair: Any, rows: Any, expected: np.ndarray, raw: bool) -> None:
    request = pb.ModelInferRequest(model_name=pair.bundle.spec.name, id="abc")
    for column in pair.bundle.spec.columns:
        values = [row[column.name] for row in rows]
        texts = [str(value or "").encode() for value in values] if column.is_text else []
        tensor = request.inputs.add(name=column.name, datatype="BYTES" if texts else "FP64", shape=[len(rows)])
        if raw and texts:
            request.raw_input_contents.append(b"".join(len(text).to_bytes(4, "little") + text for text in texts))
        elif raw:
            request.raw_input_contents.append(np.array(values, dtype="<f8").tobytes())
        elif texts:
            tensor.contents.bytes_contents.extend(texts)
        else:
            tensor.contents.fp64_contents.extend(np.array(values, dtype=float))
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=ANSWER)
    assert (answer.id, answer.model_version) == ("abc", pair.bundle.version)
    assert answer.parameters["digest"].string_param == pair.bundle.digest
    assert [output.name for output in answer.outputs] == ["prediction", "probability", "risk_level"]
    served = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(answer.outputs[1].shape)
    assert np.abs(served - expected).max() <= 1e-6


def test_predictor_answers_for_itself(pair: Any, rows: Any, expected: np.ndarray, client: httpx.Client) -> None:
    from healthrisk.inference.scorer import golden_matrix

    matrix = golden_matrix(pair.bundle.spec, [list(row.values()) for row in rows[:20]])
    inputs = pair.bundle.preprocessor.transform(matrix)
    tensor = {"name": "features", "datatype": "FP32", "shape": inputs.shape, "data": inputs.ravel().tolist()}
    url = f"{pair.predictor.url}/v2/models/{pair.bundle.spec.name}/infer"
    answer = client.post(url, json={"inputs": [tensor]}).raise_for_status().json()
    assert np.abs(np.reshape(answer["outputs"][0]["data"], expected[:20].shape) - expected[:20]).max() <= 1e-6
    url = f"{pair.predictor.url}/v1/models/{pair.bundle.spec.name}:predict"
    answer = client.post(url, json={"instances": inputs.tolist()}).raise_for_status().json()
    assert np.abs(np.array(answer["predictions"]) - expected[:20]).max() <= 1e-6
