"""Requests that mean harm or are wrong in ways no client is: each is refused by what is wrong, and none with a 500."""

import json
import socket
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.support.patience import ANSWER
from tests.support.servers import Pair, body_of

DEEP = b"[" * 1000 + b"]" * 1000
# What is said of a member of a request that is a list of lists.
NESTED = {
    "name": "every input needs a 'name'",
    "datatype": "input 'features' has datatype a list",
    "shape": "input 'features' needs a 'shape'",
    "data": "input 'features': its nested lists are not of shape [1, 13]",
    "parameters": "'parameters' must be a JSON object",
    "id": "'id' must be a string",
    "outputs": "output needs a 'name'",
}


def row_of(pair: Pair) -> list[Any]:
    return next(row for row in pair.bundle.golden.rows if None not in row)


def matrix(pair: Pair, data: Any, shape: list[int], datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "features", "datatype": datatype, "shape": shape, "data": data}], **more}


def refuse(client: httpx.Client, url: str, content: bytes | dict[str, Any]) -> str:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = client.post(url, content=body)
    assert answer.status_code == 400, (answer.status_code, answer.text)
    return str(answer.json()["error"])


def test_values_that_nest(heart_pair: Pair, client: httpx.Client) -> None:
    features = heart_pair.bundle.spec.features
    row = dict(zip(features, row_of(heart_pair), strict=True))
    v1 = json.dumps({"instances": [row | {features[0]: "DEEP"}]}).encode()
    assert f"{features[0]} is a list" in refuse(client, heart_pair.predict_url, v1.replace(b'"DEEP"', DEEP))
    assert f"{features[0]} is an object" in refuse(client, heart_pair.predict_url, v1.replace(b'"DEEP"', b"{}"))
    for member, says in NESTED.items():
        request = matrix(heart_pair, [], [1, 13])
        place = request if member in {"id", "outputs"} else request["inputs"][0]
        place[member] = "DEEP"
        assert says in refuse(client, heart_pair.infer_url, json.dumps(request).encode().replace(b'"DEEP"', DEEP))
    for name in ("binary_data_size", "binary_data", "binary_data_output"):
        request = matrix(heart_pair, [], [1, 13], outputs=[{"name": "probability", "parameters": {name: "DEEP"}}])
        if name == "binary_data_size":
            request["inputs"][0] = {
                "name": "features",
                "datatype": "FP64",
                "shape": [1, 13],
                "parameters": {name: "DEEP"},
            }
        elif name == "binary_data_output":
            request = matrix(heart_pair, [], [1, 13], parameters={name: "DEEP"})
        body = json.dumps(request).encode().replace(b'"DEEP"', DEEP)
        assert "a list" in refuse(client, heart_pair.infer_url, body)


def test_a_tensor_of_more_texts_than_there_can_be_values(heart_pair: Pair, client: httpx.Client) -> None:
    """Two million texts took three seconds to read, before their number was compared with what is allowed."""
    raw = b"\x00\x00\x00\x00" * 2**17
    for count, status in ((26_000, 400), (2**17, 413)):
        tensor = {"name": "age", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        answer = client.post(heart_pair.infer_url, content=head + raw, headers=headers)
        assert answer.status_code == status, answer.text


def test_rows_that_are_not_of_the_shape(heart_pair: Pair, client: httpx.Client) -> None:
    """Twelve values and fourteen are no two rows of thirteen: one patient would get another's value."""
    row = row_of(heart_pair)
    shapes = [
        ([[*row[:12]], [*row, row[12]]], [2, 13]),
        ([row[:6], row[6:]], [1, 13]),
        ([row, row], [1, 13]),
        ([[*row, *row]], [2, 13]),
        ([[row]], [1, 13]),
        ([*row[:12], [row[12]]], [1, 13]),
        ([[row[0]], *row[1:]], [1, 13]),
    ]
    for data, shape in shapes:
        said = refuse(client, heart_pair.infer_url, matrix(heart_pair, data, shape))
        assert f"'features': its nested lists are not of shape {shape}" in said or "thal is a list" in said
    for data in ([row], row):
        client.post(heart_pair.infer_url, json=matrix(heart_pair, data, [1, 13])).raise_for_status()
    features = heart_pair.bundle.spec.features
    for data, shape in (([[1, 2]], [2]), ([[1], [2]], [2]), ([[1, 2]], [2, 1]), ([[[1]], [[2]]], [2, 1])):
        tensors = [{"name": name, "datatype": "FP64", "shape": shape, "data": data} for name in features]
        said = refuse(client, heart_pair.infer_url, {"inputs": tensors})
        assert f"'age': its nested lists are not of shape {shape}" in said or "age is a list" in said
    width = len(heart_pair.bundle.preprocessor.outputs)
    url = heart_pair.infer_url.replace(heart_pair.transformer.url, heart_pair.predictor.url)
    uneven = matrix(heart_pair, [[0.5] * (width - 1), [0.5] * (width + 1)], [2, width], "FP32")
    assert f"its nested lists are not of shape [2, {width}]" in refuse(client, url, uneven)


@pytest.mark.parametrize(
    "text",
    ["5_0", "\N{FULLWIDTH DIGIT FIVE}", "50\n", "\n50", "0x32", "1e", "inf", "5 0", "\N{ARABIC-INDIC DIGIT FIVE}"],
)
def test_texts_that_are_no_numbers(heart_pair: Pair, client: httpx.Client, text: str) -> None:
    row = row_of(heart_pair)
    texts = [str(value) for value in row]
    client.post(heart_pair.infer_url, json=matrix(heart_pair, texts, [1, 13], "BYTES")).raise_for_status()
    said = refuse(client, heart_pair.infer_url, matrix(heart_pair, [text, *texts[1:]], [1, 13], "BYTES"))
    assert f"age is {text!r}, expected a whole number" in said


@pytest.mark.parametrize(
    ("datatype", "value", "fits"),
    [
        ("INT8", 127, True),
        ("INT8", 233, False),
        ("UINT8", 233, True),
        ("UINT8", 256, False),
        ("UINT16", -1, False),
        ("UINT64", -1, False),
        ("INT16", 2**15, False),
        ("INT64", 2**63, False),
        ("INT64", 1e19, False),
    ],
)
def test_numbers_that_their_type_cannot_hold(
    heart_pair: Pair, client: httpx.Client, datatype: str, value: float, fits: bool
) -> None:
    """Cholesterol in a type that is too narrow is refused for the type, not only for the spec's range."""
    inputs = [
        {"name": name, "datatype": datatype if name == "chol" else "FP64", "shape": [1], "data": [own]}
        for name, own in zip(heart_pair.bundle.spec.features, row_of(heart_pair), strict=True)
    ]
    next(one for one in inputs if one["name"] == "chol")["data"] = [value]
    answer = client.post(heart_pair.infer_url, json={"inputs": inputs})
    assert answer.status_code == (200 if fits else 400), answer.text
    assert fits or answer.json()["feature"] == "chol"


def test_keys_given_twice(heart_pair: Pair, client: httpx.Client) -> None:
    body = body_of(heart_pair)
    assert "twice" in refuse(client, heart_pair.predict_url, body[:-1] + b', "instances": []}')
    row = dict(zip(heart_pair.bundle.spec.features, row_of(heart_pair), strict=True))
    doubled = json.dumps({"instances": [row]}).replace('"age":', '"age": 30, "age":').encode()
    assert "'age' twice" in refuse(client, heart_pair.predict_url, doubled)


@pytest.mark.parametrize("name", ["class_count", "classification", "shared_memory_region", "sequence_id", "timeout"])
def test_parameters_that_mean_something_elsewhere(heart_pair: Pair, client: httpx.Client, name: str) -> None:
    row = row_of(heart_pair)
    asked = {name: 1}
    output = [{"name": "probability", "parameters": asked}]
    tensor = matrix(heart_pair, row, [1, 13])
    tensor["inputs"][0]["parameters"] = asked
    for request in (
        matrix(heart_pair, row, [1, 13], parameters=asked),
        matrix(heart_pair, row, [1, 13], outputs=output),
        tensor,
    ):
        assert name in refuse(client, heart_pair.infer_url, request)
    message = message_of(heart_pair)
    message.parameters[name].int64_param = 1
    assert ask(heart_pair, message.SerializeToString()) is grpc.StatusCode.INVALID_ARGUMENT


def message_of(pair: Pair) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=pair.bundle.spec.name)
    tensor = message.inputs.add(name="features", datatype="FP64", shape=[1, 13])
    tensor.contents.fp64_contents.extend(row_of(pair))
    return message


def ask(pair: Pair, message: bytes, method: str = "ModelInfer") -> grpc.StatusCode:
    """Return the status of bytes sent as a message."""
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        code: grpc.StatusCode = call.future(message, timeout=ANSWER).code()
        return code


def test_messages_that_cannot_be_decoded(heart_pair: Pair, client: httpx.Client) -> None:
    lines = heart_pair.transformer.log.read_text().count('"undecodable"')
    for number, message in enumerate((b"\xff", b"\x0a\xff", b"\x2a\x05abc", b"\x0a\x02\xff\xfe") * 25):
        method = ("ModelInfer", "ModelReady", "ServerReady", "ModelMetadata")[number % 4]
        assert ask(heart_pair, message, method) is not grpc.StatusCode.UNKNOWN
        assert ask(heart_pair, b"\x0a\xff", method) is grpc.StatusCode.INVALID_ARGUMENT
    page = client.get(heart_pair.transformer.metrics).text
    assert 'code="400",model="heart-disease",protocol="grpc"' in page
    assert 'reason="undecodable"' in page
    # One line a second at most, however long the hundred take.
    written = heart_pair.transformer.log.read_text().count('"undecodable"') - lines
    assert 0 < written < 200
    assert ask(heart_pair, message_of(heart_pair).SerializeToString()) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "path",
    [
        "grpc.health.v1.Health/Check",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "inference.GRPCInferenceService/ModelReady",
        "inference.GRPCInferenceService/ServerMetadata",
    ],
)
def test_methods_that_need_few_bytes_take_no_more(heart_pair: Pair, path: str) -> None:
    """Health and reflection too: none is a way around the bounds, or answers with UNKNOWN."""
    refused = {
        b"\x0a\xff": grpc.StatusCode.INVALID_ARGUMENT,
        b"\x3a\x03\xff\xfe\xfd\x0a\xff": grpc.StatusCode.INVALID_ARGUMENT,
        b"\x7a\x00" * 2049: grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
    with grpc.insecure_channel(heart_pair.transformer.grpc) as channel:
        for message, code in refused.items():
            if path.endswith("Info"):
                call = channel.stream_stream(f"/{path}")(iter([b"\x3a\x00", message]), timeout=ANSWER)
                with pytest.raises(grpc.RpcError):
                    list(call)
            else:
                call = channel.unary_unary(f"/{path}").future(message, timeout=ANSWER)
            assert call.code() is code


def test_contents_with_raw_contents(heart_pair: Pair) -> None:
    message = message_of(heart_pair)
    message.raw_input_contents.append(bytes(13 * 8))
    with grpc.insecure_channel(heart_pair.transformer.grpc) as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(message, timeout=ANSWER)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "has contents" in call.details()


@pytest.mark.parametrize(("datatype", "field"), [("INT8", "int_contents"), ("UINT8", "uint_contents")])
def test_contents_that_their_type_cannot_hold(heart_pair: Pair, datatype: str, field: str) -> None:
    message = message_of(heart_pair)
    message.inputs[0].datatype = datatype
    message.inputs[0].ClearField("contents")
    getattr(message.inputs[0].contents, field).extend([300] * 13)
    with grpc.insecure_channel(heart_pair.transformer.grpc) as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(message, timeout=ANSWER)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"{datatype} cannot hold" in call.details()


def exchange(pair: Pair, *parts: bytes) -> bytes:
    """Send parts; return everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", pair.transformer.ports[0]), timeout=ANSWER) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("garbage", [b"\x00\x01\x02", b"garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x: " * 20_000])
def test_garbage_after_a_good_request(heart_pair: Pair, garbage: bytes) -> None:
    body = body_of(heart_pair)
    name = heart_pair.bundle.spec.name
    post = f"POST /v1/models/{name}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    answer = exchange(heart_pair, post + garbage)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b"risk_level" in answer
    assert answer.count(b"HTTP/1.1 4") == 1
    chunked = LIVE + LIVE + post.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    answer = exchange(heart_pair, chunked)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"HTTP/1.1 400") == 1


def test_many_requests_in_one_piece(heart_pair: Pair) -> None:
    """They are answered in their order, however many more come than are taken at a time."""
    missing = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = exchange(heart_pair, (LIVE + missing) * 500 + LAST)
    codes = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"200", b"404"] * 500 + [b"200"]


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"host: a\r\nhost: b\r\n",
        b"host: a\r\nhost: a\r\n",
        b"host: a\r\ntransfer-encoding: gzip, chunked\r\n",
        b"host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"host: a\r\ntransfer-encoding: identity\r\n",
        b"host: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"host: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n",
        b"host: a\r\ncontent-length: +3\r\n",
        b"host: a\r\ncontent-length : 3\r\n",
        b"host: a\r\n x: folded\r\n",
    ],
)
def test_heads_that_two_servers_could_read_differently(heart_pair: Pair, headers: bytes) -> None:
    path = f"/v1/models/{heart_pair.bundle.spec.name}:predict".encode()
    answer = exchange(heart_pair, b"POST " + path + b" HTTP/1.1\r\n" + headers + b"\r\n0\r\n\r\n" + LAST)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert answer.count(b"\r\n\r\n") == 1


def test_http_1_0_needs_no_host(heart_pair: Pair) -> None:
    assert exchange(heart_pair, b"GET /v2 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_an_offer_of_http2_changes_nothing_else(heart_pair: Pair) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"
    assert exchange(heart_pair, b"GET /v2 HTTP/1.1\r\nhost: x\r\n" + offer + b"\r\n").startswith(b"HTTP/1.1 200")
    old = b"GET /v2 HTTP/1.0\r\n" + offer.replace(b", close", b"") + b"\r\n"
    assert exchange(heart_pair, old).startswith(b"HTTP/1.1 200")


def test_head(heart_pair: Pair, client: httpx.Client) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2", "/openapi.json"):
        answer = client.head(heart_pair.transformer.url + path)
        assert (answer.status_code, answer.content) == (200, b""), path
        assert int(answer.headers["content-length"]) == len(client.get(heart_pair.transformer.url + path).content)


def test_what_is_not_there_is_counted(heart_pair: Pair, client: httpx.Client) -> None:
    def counted() -> str:
        return "".join(line for line in client.get(heart_pair.transformer.metrics).text.splitlines() if "404" in line)

    before = counted()
    for path in ("/nowhere", "/v2/models/other/infer", "/v1/models/other:predict"):
        assert client.post(heart_pair.transformer.url + path).status_code == 404
    message = pb.ModelInferRequest(model_name="other")
    assert ask(heart_pair, message.SerializeToString()) is grpc.StatusCode.NOT_FOUND
    assert counted() != before
    for protocol in ("http", "v1", "v2", "grpc"):
        assert f'code="404",model="heart-disease",protocol="{protocol}"' in counted()
