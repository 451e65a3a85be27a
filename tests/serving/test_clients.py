"""Clients that send too much, too slowly, or what no server expects: each is refused, and keeps nobody else out."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.bundle import Bundle
from tests.support import http
from tests.support.patience import ANSWER
from tests.support.servers import PATIENT, SMALL, Pair, Server, body_of, grpc_code
from tests.support.sockets import ends, ends_while_sent

# The time for a request, which only clients that are slow on purpose exceed.
SECONDS = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lasting(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A pair for the tests that leave it whole."""
    pair = start_pair(
        make_bundle("heart-disease", "logistic_regression"), *PATIENT, *SMALL, f"--request_seconds={SECONDS}"
    )
    yield pair
    pair.end()


def test_large_bodies(lasting: Pair) -> None:
    before = lasting.transformer.rss()
    announced = http.post(lasting.predict_url, content=b"x" * (2**20 + 1))
    assert announced.status_code == 413
    assert str(2**20) in announced.json()["error"]
    chunked = http.post(lasting.predict_url, content=(b"x" * 65536 for _ in range(20)))
    assert chunked.status_code == 413
    size = 100 * 2**20
    # 100 MB: the server answers and closes, whether or not the client has finished.
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=ANSWER) as connection:
        head = (
            f"POST /v1/models/{lasting.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"
        )
        connection.sendall(head.encode())
        sent = 0
        try:
            while sent < size:
                connection.sendall(b"x" * 2**20)
                sent += 2**20
        except (ConnectionError, TimeoutError):
            assert sent < size
        else:
            assert connection.recv(12) == b"HTTP/1.1 413"
    assert lasting.transformer.rss() - before < 40
    http.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()


def test_a_refused_body_that_came_in_leaves_its_connection(lasting: Pair) -> None:
    """Only where more of a body may come is the connection given up; a client that sent all of it goes on."""
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=ANSWER) as connection:
        for body in (b'{"instances": [' + b"{}," * 340_000 + b"{}]}", body_of(lasting)):
            head = f"POST /v1/models/{lasting.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\n"
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.will_close) == (413 if len(body) > 1000 else 200, False)
            answer.read()


def test_requests_that_wait_for_the_answer_before_them_are_not_late(lasting: Pair) -> None:
    """They have come in; that the first of them is answered after the time for a request is no fault of the client."""
    body = body_of(lasting)
    head = f"POST /v1/models/{lasting.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    last = head.encode() + b"connection: close\r\n\r\n" + body
    lasting.predictor.send(signal.SIGSTOP)
    try:
        with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=ANSWER) as connection:
            connection.sendall((head.encode() + b"\r\n" + body) * 20 + last)
            time.sleep(2 * SECONDS)
            lasting.predictor.send(signal.SIGCONT)
            answer = b""
            while part := connection.recv(65536):
                answer += part
    finally:
        lasting.predictor.send(signal.SIGCONT)
    assert answer.count(b"HTTP/1.1 200") == 21
    assert b"408" not in answer


def test_refused_bodies_are_not_kept(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """What a request takes is free as soon as it is refused, and not when the garbage collector comes by."""
    bundle = make_bundle("heart-disease", "logistic_regression")
    server = Server("transformer.py", bundle, tmp_path / "log", ("--predictor_host=127.0.0.1:1", *PATIENT, *SMALL))
    url = f"{server.fork().wait().url}/v1/models/heart-disease:predict"
    row = next(row for row in Bundle.open(bundle).golden.rows if None not in row)
    bodies = {
        413: b'{"instances": [' + b"{}," * 340_000 + b"{}]}",
        400: b'{"instances": "' + b"x" * 1_000_000,
        503: json.dumps({"instances": [row] * 8000}).encode(),
    }
    try:
        for body in bodies.values():
            http.post(url, content=body)
        before = server.rss()
        for code, body in bodies.items():
            for _ in range(20):
                assert http.post(url, content=body).status_code == code
            assert server.rss() - before < 40, code
        with grpc.insecure_channel(server.grpc) as channel:
            infer = GRPCInferenceServiceStub(channel).ModelInfer
            for message in bad_messages():
                for _ in range(20):
                    assert infer.future(message, timeout=ANSWER).code() is grpc.StatusCode.INVALID_ARGUMENT
                assert server.rss() - before < 60
    finally:
        server.end()


def bad_messages() -> Iterator[pb.ModelInferRequest]:
    """Yield requests of almost a megabyte, with more values than their shape, and with bad ones."""
    for shape, contents in (([1, 13], {"int64_contents": [1] * 900_000}), ([9000, 13], {})):
        message = pb.ModelInferRequest(model_name="heart-disease")
        tensor = message.inputs.add(name="features", datatype="INT64", shape=shape)
        tensor.contents.MergeFrom(pb.InferTensorContents(**contents))
        if not contents:
            message.raw_input_contents.append(bytes(9000 * 13 * 8))
        yield message


def exchange(pair: Pair, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts with pauses between them; return everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", pair.transformer.ports[0]), timeout=ANSWER) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_slow_clients(lasting: Pair) -> None:
    head = f"POST /v1/models/{lasting.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\n".encode()
    whole = head + b"content-length: 100\r\n\r\n"
    starts = ((b"",), (b"POST /v1",), (head,), (whole,), (whole, b"{"))

    with ThreadPoolExecutor(len(starts)) as clients:
        for answer in clients.map(lambda parts: exchange(lasting, *parts), starts):
            assert answer.startswith(b"HTTP/1.1 408"), answer
            assert b'{"error":"the request did not come in within %d s"}' % SECONDS in answer


def test_slow_drip_does_not_extend_the_time(lasting: Pair) -> None:
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=ANSWER) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        assert ends_while_sent(connection, b"x: y\r\n")


def opened(pair: Pair, count: int, start: bytes) -> list[socket.socket]:
    """Return connections on which so much of a request has been sent."""
    sockets = []
    for _ in range(count):
        sockets.append(socket.create_connection(("127.0.0.1", pair.transformer.ports[0]), timeout=ANSWER))
        # At once: a server gives up who waits too long.
        sockets[-1].sendall(start)
    return sockets


def start_of_body(pair: Pair, announced: int, kind: str = "application/json") -> bytes:
    head = f"POST /v1/models/{pair.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {announced}\r\n\r\n{{".encode()


def test_slow_bodies_keep_nobody_out(lasting: Pair) -> None:
    """More clients that never finish their body than requests may be under way, and others are answered."""
    sockets = opened(lasting, 200, start_of_body(lasting, 100))
    try:
        for _ in range(10):
            http.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()
        assert grpc_code(lasting) is grpc.StatusCode.OK
        for one in sockets:
            assert one.recv(12) == b"HTTP/1.1 408"
    finally:
        for one in sockets:
            one.close()


def test_bodies_are_bounded_together(lasting: Pair) -> None:
    """Four megabytes are allowed, and five clients send almost one each."""
    sockets = opened(lasting, 5, start_of_body(lasting, 2**20) + b" " * 1_000_000)
    try:
        answers = [one.recv(1000).decode().lower() for one in sockets]
    finally:
        for one in sockets:
            one.close()
    refused = [answer for answer in answers if answer.startswith("http/1.1 503")]
    assert refused
    assert all("retry-after: " in answer and "bytes are under way" in answer for answer in refused)
    assert all(answer.startswith("http/1.1 408") for answer in answers if answer not in refused)
    http.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()


def test_a_client_that_does_not_read(lasting: Pair) -> None:
    """Answers nobody takes fill the connection's buffers; a while later the connection is gone."""
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=ANSWER) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
        connection.sendall(request * 1500)
        assert ends_while_sent(connection, request)
    assert "Exception" not in lasting.logs()


def test_no_second_answer_for_a_body_that_stops(lasting: Pair) -> None:
    answer = exchange(lasting, start_of_body(lasting, 100, kind="text/csv"))
    assert answer.startswith(b"HTTP/1.1 415")
    assert answer.count(b"HTTP/1.1") == 1


def test_offers_of_another_protocol_are_ignored(lasting: Pair) -> None:
    """As Java's client makes one, with the head and the body in two parts or in one."""
    body = body_of(lasting)
    head = (
        f"POST /v1/models/{lasting.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\n"
        f"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
        f"http2-settings: AAEAAEAAAAIAAAAA\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    last = b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    for parts in ((head + body, last), (head[:50], head[50:], body, last), (head, body + last)):
        answer = exchange(lasting, *parts, pause=0.05)
        assert answer.count(b"HTTP/1.1 200") == 2, answer
        assert b"risk_level" in answer
    assert exchange(lasting, b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_server_that_is_full(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Five connections are allowed, and no request at all."""
    bundle = make_bundle("heart-disease", "logistic_regression")
    server = Server("transformer.py", bundle, tmp_path / "log")
    server.options = ("--predictor_host=127.0.0.1:1", "--max_connections=5", "--max_in_flight=0")
    server.fork().wait()
    full = Pair(server, server, Bundle.open(bundle))
    try:
        for answer in (http.post(full.predict_url, content=body_of(full)), http.post(full.infer_url, content=b"{}")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"].startswith("overloaded")
        assert grpc_code(full) is grpc.StatusCode.UNAVAILABLE
        kept = [socket.create_connection(("127.0.0.1", server.ports[0]), timeout=ANSWER) for _ in range(5)]
        http.get(f"{server.url}/v2").raise_for_status()
        # The oldest made room.
        refused = kept[0].recv(1000)
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in refused
        assert b"too many connections" in refused
        for one in kept:
            one.close()
    finally:
        server.end()


def test_half_open_connections_end(lasting: Pair) -> None:
    sockets = opened(lasting, 200, b"")
    try:
        http.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()
        for one in sockets:
            assert one.recv(12) == b"HTTP/1.1 408"
    finally:
        for one in sockets:
            one.close()


def test_half_open_connections_to_grpc_end(lasting: Pair) -> None:
    for start in (b"", b"PRI * HTTP/2.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", lasting.transformer.ports[1]), timeout=ANSWER) as connection:
            connection.sendall(start)
            assert ends(connection)


def test_headers_are_limited(lasting: Pair) -> None:
    for headers in (b"x: " + b"y" * 40_000 + b"\r\n", b"".join(b"x%d: y\r\n" % i for i in range(5000))):
        answer = exchange(lasting, b"GET /v2 HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431"), answer[:100]
        assert b'{"error"' in answer
    for headers in (b"x: " + b"y" * 12_000 + b"\r\n", b"x: y\r\n" * 2000):
        head = b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + headers + b"\r\n"
        for parts in ((head,), (head[:11_000], head[11_000:])):
            assert exchange(lasting, *parts, pause=0.05).startswith(b"HTTP/1.1 200")


def test_what_is_not_http(lasting: Pair) -> None:
    answer = exchange(lasting, b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'{"error"' in answer


def test_a_client_that_leaves(lasting: Pair) -> None:
    name = lasting.bundle.spec.name.encode()
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=ANSWER) as connection:
            connection.sendall(
                b"POST /v1/models/" + name + b":predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
            )
    http.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()
    assert "unexpected error" not in lasting.logs()
    assert "Exception" not in lasting.logs()
