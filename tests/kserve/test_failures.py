"""What breaks: the predictor, the network, the load, the clients. Every test runs real processes and breaks them."""

import asyncio
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve_tests import Pair, Server

OPTIONS = (
    "--predictor_request_timeout_seconds=1",
    "--request_seconds=2",
    "--drain_seconds=1",
    f"--max_body_bytes={2**20}",
    f"--max_incoming_bytes={4 * 2**20}",
)


@pytest.fixture
def pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *OPTIONS)
    yield pair
    pair.end()


@pytest.fixture(scope="module")
def lasting(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A pair for the tests that leave it whole."""
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *OPTIONS)
    yield pair
    pair.end()


def body_of(pair: Pair) -> bytes:
    golden = pair.bundle.read_json("golden.json")
    return json.dumps({"instances": golden["rows"][:1]}).encode()


def grpc_code(pair: Pair) -> grpc.StatusCode:
    """Return the status of a good request over gRPC."""
    features = pair.bundle.spec.features
    row = next(row for row in pair.bundle.read_json("golden.json")["rows"] if None not in row)
    message = pb.ModelInferRequest(model_name=pair.bundle.spec.name)
    tensor = message.inputs.add(name="features", datatype="FP64", shape=[1, len(features)])
    tensor.contents.fp64_contents.extend(row)
    with grpc.insecure_channel(pair.transformer.grpc) as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer.future(message, timeout=10).code()


@dataclass
class Load:
    """Clients that ask without pause, each over its own connection, until told to stop or to go elsewhere."""

    url: str
    body: bytes
    clients: int = 4
    answers: list[tuple[float, int, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a request hangs"

    def _ask(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    answer = client.post(self.url, content=self.body)
                    code = answer.status_code
                except httpx.ConnectError:
                    code = -1
                except httpx.TransportError:
                    code = 0
                self.answers.append((began, code, time.monotonic() - began))
                if code < 200:
                    time.sleep(0.02)
                elif answer.headers.get("connection") == "close":
                    return

    def wait_for(self, code: int, seconds: float) -> float:
        """Return after how long the first answer with a code, to a request begun from now on, has come."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if any(at >= began and got == code for at, got, _ in list(self.answers)):
                return time.monotonic() - began
            time.sleep(0.01)
        raise AssertionError(f"no {code} within {seconds} s; {self.codes(began)}")

    def codes(self, since: float = 0.0) -> Counter[int]:
        return Counter(code for at, code, _ in list(self.answers) if at >= since)


def test_predictor_killed_under_load(pair: Pair) -> None:
    """The times must be kept once in three kills, for other work may hold up one; everything else, always."""
    with Load(pair.predict_url, body_of(pair)) as load:
        load.wait_for(200, 5)
        for _ in range(3):
            pair.predictor.end(signal.SIGKILL)
            refused = load.wait_for(503, 10)
            answer = httpx.post(pair.predict_url, content=body_of(pair))
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "predictor" in answer.json()["error"]
            assert grpc_code(pair) is grpc.StatusCode.UNAVAILABLE
            pair.predictor.start().wait()
            recovered = load.wait_for(200, 10)
            settled = time.monotonic()
            time.sleep(0.3)
            assert set(load.codes(settled)) == {200}
            if refused < 1 and recovered < 2:
                break
        assert refused < 1
        assert recovered < 2
    assert set(load.codes()) <= {200, 503}


def test_predictor_stopped(pair: Pair) -> None:
    base, name = pair.transformer.url, pair.bundle.spec.name
    httpx.post(pair.predict_url, content=body_of(pair)).raise_for_status()
    assert grpc_code(pair) is grpc.StatusCode.OK
    pair.predictor.send(signal.SIGSTOP)
    assert grpc_code(pair) is grpc.StatusCode.DEADLINE_EXCEEDED
    with Load(pair.predict_url, body_of(pair)) as load:
        assert load.wait_for(504, 10) > 0.9
        # Whoever does not need the predictor does not notice.
        for answer in (
            httpx.get(f"{base}/v2/health/ready"),
            httpx.get(f"{base}/v2/models/{name}"),
        ):
            assert answer.status_code == 200
        assert httpx.post(pair.predict_url, content=b'{"instances": [{}]}').status_code == 400
        pair.predictor.send(signal.SIGCONT)
        load.wait_for(200, 10)
    waited = sorted(seconds for _, code, seconds in load.answers if code == 504)
    assert waited[0] > 0.9
    # Half of them, for other work may hold up a few.
    assert waited[len(waited) // 2] < 2
    assert set(load.codes()) == {200, 504}
    metrics = httpx.get(f"{base}/metrics").text
    assert f'predictor_hop_errors_total{{model="{name}",reason="predictor_timeout"}}' in metrics


def test_sigterm_drains(pair: Pair) -> None:
    with Load(pair.predict_url, body_of(pair), clients=8) as load:
        load.wait_for(200, 5)
        pair.transformer.send(signal.SIGTERM)
        stopped = time.monotonic()
        time.sleep(0.3)
        draining = httpx.get(f"{pair.transformer.url}/v2/health/ready")
        assert (draining.status_code, draining.json()) == (503, {"error": "draining"})
        assert draining.headers["retry-after"]
        assert load.codes(stopped)[200] > 0
        late = httpx.post(pair.predict_url, content=body_of(pair))
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        assert pair.transformer.process is not None
        assert pair.transformer.process.wait(10) == 0
    assert set(load.codes()) == {200}, load.codes()


def test_two_replicas_roll_to_a_new_champion(make_bundle: Any, start_pair: Callable[..., Pair]) -> None:
    """Behind a balancer that sends to whoever is in service, replacing one replica after the other loses nothing."""
    old, new = make_bundle("heart-disease", "logistic_regression"), make_bundle("heart-disease", "random_forest")
    replicas = [start_pair(old, *OPTIONS) for _ in range(2)]
    ready = list(replicas)
    versions, failures, stop = set(), [], threading.Event()

    def ask() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            pair = ready[turn % len(ready)]
            answer = httpx.post(pair.predict_url, content=body_of(pair), timeout=10)
            if answer.status_code != 200:
                failures.append(answer.text)
            versions.add(pair.bundle.version)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for position in range(2):
            fresh = start_pair(new, *OPTIONS)
            leaving, ready[position] = replicas[position], fresh
            replicas[position] = fresh
            assert leaving.transformer.end(signal.SIGTERM) == 0
            assert leaving.predictor.end(signal.SIGTERM) == 0
    finally:
        stop.set()
        thread.join(20)
        for pair in replicas:
            pair.end()
    assert failures == []
    assert len(versions) == 2


def test_a_predictor_of_another_version_is_not_asked(make_bundle: Any, tmp_path: Path) -> None:
    predictor = Server("predictor.py", make_bundle("heart-disease", "random_forest"), tmp_path / "p").start().wait()
    host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
    bundle = make_bundle("heart-disease", "logistic_regression")
    transformer = Server("transformer.py", bundle, tmp_path / "t", (host,)).start().wait()
    try:
        rows = json.loads((bundle / "golden.json").read_text())["rows"][:1]
        answer = httpx.post(f"{transformer.url}/v1/models/heart-disease:predict", json={"instances": rows})
        assert answer.status_code == 503
        assert "another version" in answer.json()["error"]
    finally:
        predictor.end()
        transformer.end()


def test_overload_is_refused_at_once(make_bundle: Any, start_pair: Callable[..., Pair]) -> None:
    limit = 8
    pair = start_pair(make_bundle("heart-disease", "random_forest"), f"--max_in_flight={limit}")
    body = json.dumps({"instances": pair.bundle.read_json("golden.json")["rows"] * 10}).encode()
    head = f"POST /v1/models/{pair.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    times: dict[int, list[float]] = {}

    async def ask(until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.transformer.ports[0])
        while time.monotonic() < until:
            began = time.monotonic()
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\r\n")[0]))
            code = int(answer[9:12])
            times.setdefault(code, []).append(time.monotonic() - began)
            if code != 200:
                assert b"retry-after: " in answer
                await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()

    async def flood() -> None:
        await asyncio.gather(*(ask(time.monotonic() + 3) for _ in range(10 * limit)))

    def late(code: int) -> float:
        return sorted(times[code])[int(len(times[code]) * 0.99)]

    try:
        # Other work may hold up one flood, but not each of three.
        for _ in range(3):
            times.clear()
            asyncio.run(flood())
            assert set(times) == {200, 503}
            if late(200) < 1 and late(503) < 0.5:
                break
    finally:
        pair.end()
    assert late(200) < 1
    assert late(503) < 0.5


def test_large_bodies(lasting: Pair) -> None:
    before = lasting.transformer.rss()
    announced = httpx.post(lasting.predict_url, content=b"x" * (2**20 + 1), timeout=20)
    assert announced.status_code == 413
    assert str(2**20) in announced.json()["error"]
    chunked = httpx.post(lasting.predict_url, content=(b"x" * 65536 for _ in range(20)), timeout=20)
    assert chunked.status_code == 413
    size = 100 * 2**20
    # 100 MB: the server answers and closes, whether or not the client has finished.
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=20) as connection:
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
    httpx.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()


def exchange(pair: Pair, *parts: bytes, pause: float = 0.0, seconds: float = 10) -> bytes:
    """Send parts with pauses between them; return everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", pair.transformer.ports[0]), timeout=seconds) as connection:
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

    def wait(parts: tuple[bytes, ...]) -> tuple[bytes, float]:
        began = time.monotonic()
        return exchange(lasting, *parts), time.monotonic() - began

    with ThreadPoolExecutor(len(starts)) as clients:
        for answer, seconds in clients.map(wait, starts):
            assert answer.startswith(b"HTTP/1.1 408"), answer
            assert b'{"error"' in answer
            assert 1.5 < seconds < 4


def test_slow_drip_does_not_extend_the_time(lasting: Pair) -> None:
    answer = b""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=10) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        try:
            while time.monotonic() - began < 6:
                connection.sendall(b"x: y\r\n")
                time.sleep(0.1)
        except ConnectionError:
            assert time.monotonic() - began < 4
        else:
            answer = connection.recv(100)
    assert time.monotonic() - began < 4 or answer.startswith(b"HTTP/1.1 408")


def opened(pair: Pair, count: int, start: bytes) -> list[socket.socket]:
    """Return connections on which so much of a request has been sent."""
    sockets = [socket.create_connection(("127.0.0.1", pair.transformer.ports[0]), timeout=10) for _ in range(count)]
    for one in sockets:
        one.sendall(start)
    return sockets


def start_of_body(pair: Pair, announced: int, kind: str = "application/json") -> bytes:
    head = f"POST /v1/models/{pair.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {announced}\r\n\r\n{{".encode()


def test_slow_bodies_keep_nobody_out(lasting: Pair) -> None:
    """More clients that never finish their body than requests may be under way, and others are answered."""
    sockets = opened(lasting, 200, start_of_body(lasting, 100))
    try:
        for _ in range(10):
            httpx.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()
        assert grpc_code(lasting) is grpc.StatusCode.OK
        for one in sockets:
            assert one.recv(12) == b"HTTP/1.1 408"
    finally:
        for one in sockets:
            one.close()


def test_bodies_that_come_in_are_bounded_together(lasting: Pair) -> None:
    """Four megabytes are allowed, and five clients send almost one each."""
    sockets = opened(lasting, 5, start_of_body(lasting, 2**20) + b" " * 1_000_000)
    try:
        answers = [one.recv(1000).decode().lower() for one in sockets]
    finally:
        for one in sockets:
            one.close()
    refused = [answer for answer in answers if answer.startswith("http/1.1 503")]
    assert refused
    assert all("retry-after: " in answer and "bytes are coming in" in answer for answer in refused)
    assert all(answer.startswith("http/1.1 408") for answer in answers if answer not in refused)
    httpx.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()


def test_a_client_that_does_not_read(lasting: Pair) -> None:
    """Answers nobody takes fill the connection's buffers; a while later the connection is gone."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
        connection.sendall(request * 1500)
        try:
            while time.monotonic() - began < 15:
                connection.sendall(request)
                time.sleep(0.1)
        except ConnectionError:
            assert time.monotonic() - began > 1.5
            return
    raise AssertionError("the server keeps the connection")


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


def test_connections_are_limited(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    server = Server("predictor.py", make_bundle("heart-disease", "logistic_regression"), tmp_path / "log")
    server.options = ("--max_connections=5",)
    server.start().wait()
    try:
        kept = [socket.create_connection(("127.0.0.1", server.ports[0])) for _ in range(5)]
        refused = httpx.get(f"{server.url}/v2")
        assert (refused.status_code, refused.json()) == (503, {"error": "too many connections"})
        assert refused.headers["retry-after"]
        for one in kept:
            one.close()
        httpx.get(f"{server.url}/v2").raise_for_status()
    finally:
        server.end()


def test_half_open_connections_end(lasting: Pair) -> None:
    sockets = opened(lasting, 200, b"")
    try:
        httpx.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()
        for one in sockets:
            assert one.recv(12) == b"HTTP/1.1 408"
    finally:
        for one in sockets:
            one.close()


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
        with socket.create_connection(("127.0.0.1", lasting.transformer.ports[0]), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/models/" + name + b":predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
            )
    httpx.post(lasting.predict_url, content=body_of(lasting)).raise_for_status()
    assert "unexpected error" not in lasting.logs()
    assert "Exception" not in lasting.logs()
