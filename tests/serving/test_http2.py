"""REST over HTTP/2 without TLS, by prior knowledge: the same answers as over HTTP/1.1, within the same bounds."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from healthrisk.serving.http2_frames import CONTINUATION
from tests.support import http, http2
from tests.support.patience import ANSWER, until
from tests.support.servers import PATIENT, Pair, body_of
from tests.support.sockets import ends

SECONDS, FEW = 3, 4


@pytest.fixture(scope="module")
def strict(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A pair that gives requests little time and room, and takes few connections of HTTP/2."""
    options = (f"--request_seconds={SECONDS}", f"--max_body_bytes={2**20}", f"--max_held_bytes={4 * 2**20}")
    pair = start_pair(
        make_bundle("heart-disease", "logistic_regression"), *PATIENT, *options, f"--max_http2_connections={FEW}"
    )
    yield pair
    pair.end()


class Client:
    """One connection, frame by frame."""

    def __init__(self, pair: Pair, window: int = 2**16 - 1) -> None:
        self.socket = socket.create_connection(("127.0.0.1", pair.transformer.ports[0]), timeout=ANSWER)
        self.h2 = H2Connection(H2Configuration(validate_outbound_headers=False))
        self.h2.local_settings = Settings(True, {SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.flush()
        self.wait_for(RemoteSettingsChanged)
        self.wait_for(SettingsAcknowledged)

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def begin(self, path: str, more: Sequence[tuple[str, str]] = (), *, end: bool = False, method: str = "POST") -> int:
        stream: int = self.h2.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)]
        self.h2.send_headers(stream, [*headers, ("content-type", "application/json"), *more], end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = True) -> None:
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if not room:
                if not self.read() or self.is_reset(stream):
                    raise ConnectionError("the server takes no more of it")
                continue
            piece, body = body[:room], body[room:]
            self.h2.send_data(stream, piece, end_stream=end and not body)
            self.flush()

    def read(self) -> bool:
        """Take what comes in; say whether the connection is still there."""
        data = self.socket.recv(2**16)
        self.events += self.h2.receive_data(data)
        self.flush()
        return bool(data)

    def is_reset(self, stream: int) -> bool:
        return any(isinstance(event, StreamReset) and event.stream_id == stream for event in self.events)

    def wait_for(self, kind: type[Event], stream: int | None = None) -> Any:
        """Return the first event of a kind, of one stream or of any."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream in {None, getattr(event, "stream_id", None)}:
                    return event
            assert self.read(), f"the connection ended with {self.events}"

    def status(self, stream: int) -> bytes:
        headers: dict[bytes, bytes] = dict(self.wait_for(ResponseReceived, stream).headers)
        return headers[b":status"]

    def wait_for_end(self) -> ErrorCodes:
        """Return what the server said when it closed."""
        while not any(isinstance(event, ConnectionTerminated) for event in self.events) and self.read():
            continue
        return self.wait_for(ConnectionTerminated).error_code  # type: ignore[no-any-return]

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def client(strict: Pair) -> Iterator[Client]:
    with closing(Client(strict)) as one:
        yield one


def path_of(pair: Pair) -> str:
    return f"/v1/models/{pair.bundle.spec.name}:predict"


def test_every_path_answers_as_over_http_1(heart_pair: Pair) -> None:
    name, base = heart_pair.bundle.spec.name, heart_pair.transformer.url
    paths = [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        f"/v2/models/{name}",
        "/openapi.json",
        "/nowhere",
        "/%20?a=b",
    ]
    with http.client() as before, http.client(http1=False, http2=True) as client:
        for method in ("GET", "HEAD", "DELETE"):
            for path in paths:
                old, new = (ask.request(method, base + path) for ask in (before, client))
                assert new.http_version == "HTTP/2"
                assert (new.status_code, new.content) == (old.status_code, old.content)
                assert new.headers["content-length"] == old.headers["content-length"]
        for body in (body_of(heart_pair), b"{}", b'{"instances": [{}]}', b"[" * 5000):
            old, new = (ask.post(heart_pair.predict_url, content=body) for ask in (before, client))
            assert (new.status_code, without_time(new)) == (old.status_code, without_time(old))


def without_time(answer: httpx.Response) -> Any:
    document = answer.json()
    for prediction in document.get("predictions", []):
        del prediction["timestamp"]
    return document


def test_each_of_many_requests_at_once_gets_its_own_answer(
    heart_pair: Pair, raw_rows: Callable[..., list[dict[str, Any]]], offline: Callable[..., Any]
) -> None:
    rows = raw_rows(heart_pair.bundle.path)[:200]

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(http1=False, http2=True, timeout=ANSWER) as client:
            return await asyncio.gather(
                *(client.post(heart_pair.predict_url, json={"instances": [row]}) for row in rows)
            )

    served = [answer.json()["predictions"][0]["probability"] for answer in asyncio.run(ask())]
    assert served == pytest.approx(offline(heart_pair.bundle, rows)[:, 1].tolist(), abs=1e-6)


def test_a_large_answer_waits_for_a_client_with_a_small_window(strict: Pair) -> None:
    rows = strict.bundle.golden.rows[:1] * 2000
    with closing(Client(strict, window=1000)) as client:
        stream = client.begin(path_of(strict))
        client.send(stream, json.dumps({"instances": rows}).encode())
        assert client.status(stream) == b"200"
        answer, last = b"", False
        while not last:
            events, client.events = client.events, []
            for event in events:
                if isinstance(event, DataReceived):
                    answer += event.data
                    client.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                last = last or isinstance(event, StreamEnded)
            client.flush()
            assert last or client.read()
    assert len(json.loads(answer)["predictions"]) == len(rows)


def test_who_does_not_take_an_answer_is_left(strict: Pair) -> None:
    with closing(Client(strict, window=0)) as client:
        client.send(client.begin(path_of(strict)), body_of(strict))
        with contextlib.suppress(ConnectionResetError):
            while client.read():
                continue
    assert_answered(strict)


def assert_answered(pair: Pair) -> None:
    http.post(pair.predict_url, content=body_of(pair)).raise_for_status()
    with http.client(http1=False, http2=True) as client:
        client.post(pair.predict_url, content=body_of(pair)).raise_for_status()


def test_a_body_that_does_not_come_in(strict: Pair, client: Client) -> None:
    """It is refused, while another request of the connection is answered."""
    late, good = client.begin(path_of(strict)), client.begin(path_of(strict))
    client.send(late, b'{"instances": ', end=False)
    client.send(good, body_of(strict))
    assert (client.status(good), client.status(late)) == (b"200", b"408")


def test_a_body_that_is_too_large(strict: Pair, client: Client) -> None:
    stream = client.begin(path_of(strict))
    with contextlib.suppress(ProtocolError, ConnectionError):
        client.send(stream, bytes(4 * 2**20), end=False)
    assert client.status(stream) == b"413"
    assert client.wait_for_end() is ErrorCodes.NO_ERROR
    assert_answered(strict)


def test_bodies_are_bounded_together(strict: Pair, client: Client) -> None:
    """Of a hundred requests of a megabyte, none ever whole, no more is held than is allowed."""
    before = strict.transformer.rss()
    for stream in [client.begin(path_of(strict)) for _ in range(100)]:
        with contextlib.suppress(ProtocolError, ConnectionError):
            client.send(stream, bytes(2**20 - 1), end=False)
    assert strict.transformer.rss() - before < 60
    statuses = {dict(event.headers)[b":status"] for event in client.events if isinstance(event, ResponseReceived)}
    assert statuses <= {b"503", b"408"}
    assert_answered(strict)


def test_headers_that_become_large(strict: Pair, client: Client) -> None:
    """A few bytes each, as they repeat what came before."""
    client.begin(path_of(strict), [("x", "y" * 4000)] * 10)
    assert client.wait_for_end() is ErrorCodes.ENHANCE_YOUR_CALM
    assert_answered(strict)


def test_headers_without_end(strict: Pair) -> None:
    with closing(http2.Client(strict.transformer.ports[0], ANSWER)) as client:
        begun = http2.frame(http2.HEADERS, 0, 1, http2.fields({":method": "POST"}))
        with contextlib.suppress(ConnectionError):
            client.send(begun + 3 * http2.frame(CONTINUATION, 0, 1, http2.fields({"x": "y" * 100}) * 100))
        assert client.ends()
    assert_answered(strict)


@pytest.mark.parametrize(
    "sent",
    [b"", http2.PREFACE[:10], http2.PREFACE, http2.PREFACE + b"\x00\x00", http2.PREFACE + http2.frame(4, 0, 0)],
)
def test_connections_that_do_not_begin_end(strict: Pair, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", strict.transformer.ports[0]), timeout=ANSWER) as connection:
        connection.sendall(sent)
        assert ends(connection)


def test_a_preface_in_pieces(strict: Pair) -> None:
    with closing(Client(strict)) as whole:
        sent = http2.PREFACE + whole.h2.data_to_send()
    with socket.create_connection(("127.0.0.1", strict.transformer.ports[0]), timeout=ANSWER) as connection:
        for place in range(len(sent)):
            connection.sendall(sent[place : place + 1])
        connection.sendall(http2.frame(http2.SETTINGS, 0, 0))
        # The server's settings.
        assert connection.recv(9)[3] == http2.SETTINGS


def test_idle_connections_make_room(strict: Pair) -> None:
    """One client holds all there may be, twice over; others are answered, over HTTP/1.1 and 2."""
    clients = [Client(strict) for _ in range(2 * FEW)]
    try:
        assert_answered(strict)
        assert clients[0].wait_for_end() is ErrorCodes.ENHANCE_YOUR_CALM
    finally:
        for client in clients:
            client.close()


def test_resets_leave_nothing_behind(strict: Pair, client: Client) -> None:
    for number in range(1000):
        stream = client.begin(path_of(strict), end=bool(number % 2))
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
    last = client.begin("/v2", end=True, method="GET")
    assert client.status(last) == b"200"
    gauge = f'predictions_in_flight{{model="{strict.bundle.spec.name}"}} 0.0'
    until(lambda: gauge in http.get(strict.transformer.metrics).text)


def test_what_is_not_http_2_ends_the_connection(strict: Pair, client: Client) -> None:
    client.socket.sendall(http2.frame(http2.DATA, 0, 0, b"data of no stream"))
    assert client.wait_for_end() is ErrorCodes.PROTOCOL_ERROR
    assert_answered(strict)


def test_a_server_that_stops_answers_what_it_has(
    make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]
) -> None:
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *PATIENT, "--drain_seconds=0")
    try:
        with closing(Client(pair)) as client:
            stream = client.begin(path_of(pair))
            client.h2.ping(bytes(8))
            client.flush()
            client.wait_for(PingAckReceived)
            pair.transformer.send(signal.SIGTERM)
            until(lambda: "stopping" in pair.transformer.log.read_text())
            client.send(stream, body_of(pair))
            assert client.status(stream) == b"200"
            assert client.wait_for_end() is ErrorCodes.NO_ERROR
        assert not [event for event in client.events if isinstance(event, StreamReset)]
        assert pair.transformer.process is not None
        assert pair.transformer.process.wait(ANSWER) == 0
    finally:
        pair.end()
