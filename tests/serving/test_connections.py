"""Connections that do nothing, or too little: they are counted, make room for others, and end."""

import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import grpc
import pytest

from healthrisk.bundle import Bundle
from tests.support import http, http2
from tests.support.patience import ANSWER, until
from tests.support.servers import PATIENT, ROOT, Pair, Server, body_of, grpc_code
from tests.support.sockets import ends

INFER = "/inference.GRPCInferenceService/ModelInfer"
# So long may a message take.
SECONDS = 3
FEW = 5
# The kernel's name for the state of a connection.
ESTABLISHED = b"\x01"


@pytest.fixture(scope="module")
def few(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A pair that takes few connections."""
    options = (f"--max_connections={FEW}", f"--max_grpc_connections={FEW}")
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *PATIENT, *options)
    yield pair
    pair.end()


@pytest.fixture(scope="module")
def strict(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A pair that gives messages little time and room."""
    options = (f"--request_seconds={SECONDS}", f"--max_body_bytes={2**20}", f"--max_held_bytes={8 * 2**20}")
    pair = start_pair(
        make_bundle("heart-disease", "logistic_regression"), *PATIENT, *options, f"--idle_seconds={SECONDS}"
    )
    yield pair
    pair.end()


def opened(port: int, count: int, start: bytes = b"") -> list[socket.socket]:
    connections = [socket.create_connection(("127.0.0.1", port), timeout=ANSWER) for _ in range(count)]
    for one in connections:
        one.sendall(start)
    return connections


def is_answered(pair: Pair) -> bool:
    """Ask once by each protocol."""
    http.get(f"{pair.transformer.url}/v2/health/live").raise_for_status()
    http.post(pair.predict_url, content=body_of(pair)).raise_for_status()
    return grpc_code(pair) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "start",
    [b"", b"GET /v2 HTT", b"POST /v2/models/heart-disease/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1"],
)
def test_connections_that_wait_make_room(few: Pair, start: bytes) -> None:
    """One client holds all there may be, twice over; whoever asks for health is answered."""
    with ExitStack() as stack:
        connections = [stack.enter_context(one) for one in opened(few.transformer.ports[0], 2 * FEW, start)]
        assert is_answered(few)
        # The oldest were told so.
        assert b"503" in connections[0].recv(100)


def test_connections_that_wait_for_an_answer_stay(few: Pair) -> None:
    body = body_of(few)
    head = f"POST /v1/models/{few.bundle.spec.name}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    few.predictor.send(signal.SIGSTOP)
    try:
        waiting = opened(few.transformer.ports[0], FEW, head.encode() + body)
        gauge = f'predictions_in_flight{{model="{few.bundle.spec.name}"}} {FEW}.0'
        until(lambda: gauge in http.get(few.transformer.metrics).text)
        refused = http.get(f"{few.transformer.url}/v2/health/live")
        assert (refused.status_code, refused.json()) == (503, {"error": "too many connections"})
    finally:
        few.predictor.send(signal.SIGCONT)
    for one in waiting:
        with one:
            assert one.recv(12) == b"HTTP/1.1 200"
    assert is_answered(few)


def test_idle_grpc_connections_make_room(few: Pair) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(http2.Client(few.transformer.ports[1], ANSWER))) for _ in range(3 * FEW)]
        assert is_answered(few)
        for client in clients[:FEW]:
            assert client.ends()


@pytest.mark.parametrize("port", [0, 1])
def test_connections_that_come_at_once_wait_for_their_turn(few: Pair, port: int) -> None:
    """The kernel takes what a busy server has not accepted yet; a connection that it does not take stays unmade."""
    few.transformer.send(signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            for _ in range(300):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", few.transformer.ports[port]))
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == ESTABLISHED
    finally:
        few.transformer.send(signal.SIGCONT)


@pytest.mark.parametrize("start", [b"", http2.PREFACE[:10], http2.PREFACE, http2.PREFACE + b"\x00\x00"])
def test_grpc_connections_that_do_not_begin_end(strict: Pair, start: bytes) -> None:
    for one in opened(strict.transformer.ports[1], 3, start):
        with one:
            assert ends(one)


def test_idle_grpc_connections_end(strict: Pair) -> None:
    for _ in range(3):
        with closing(http2.Client(strict.transformer.ports[1], ANSWER)) as client:
            assert client.ends()


def send_half_a_message(client: http2.Client) -> None:
    with suppress(ConnectionError):
        client.send(http2.call(1, INFER))
        client.send_part_of_message(1, 2**20, 2**19)


def test_messages_that_do_not_come_in_end(strict: Pair) -> None:
    """Forty begin a message of a megabyte and send half of it: eight megabytes are held at most, and not for long."""
    before = strict.transformer.rss()
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(http2.Client(strict.transformer.ports[1], ANSWER))) for _ in range(40)]
        with ThreadPoolExecutor(len(clients)) as senders:
            list(senders.map(send_half_a_message, clients))
        assert strict.transformer.rss() - before < 60
        for client in clients:
            assert client.ends()
    assert is_answered(strict)


def test_many_calls_on_one_connection(strict: Pair) -> None:
    """A connection on which too much comes in at once ends; those of others stay."""
    with closing(http2.Client(strict.transformer.ports[1], ANSWER)) as client:
        # Its end, which is what is waited for, may come while more is sent.
        with suppress(ConnectionError):
            for number in range(100):
                client.send(http2.call(2 * number + 1, INFER))
                if not client.send_part_of_message(2 * number + 1, 2**20, 2**19):
                    break
        assert client.ends()
    assert is_answered(strict)


@pytest.mark.slow
def test_few_descriptors(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Where few files may be open, hundreds of idle gRPC connections leave REST enough."""
    bundle = make_bundle("heart-disease", "logistic_regression")
    server = Server("transformer.py", bundle, tmp_path / "log", ("--predictor_host=127.0.0.1:1",))
    server.start()
    # Long before it has imported what reads the limit.
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (300, 300))
    pair = Pair(server.wait(), server, Bundle.open(bundle))
    try:
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(closing(http2.Client(server.ports[1], ANSWER)))
            for _ in range(10):
                http.get(f"{server.url}/v2/health/ready").raise_for_status()
            assert grpc_code(pair) is grpc.StatusCode.UNAVAILABLE
            assert "cannot be reached" in http.post(pair.predict_url, content=body_of(pair)).json()["error"]
            for one in opened(server.ports[0], 300):
                stack.enter_context(one)
            http.get(f"{server.url}/v2/health/ready").raise_for_status()
    finally:
        server.end()
    server.start()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (100, 100))
    assert server.process is not None
    assert server.process.wait(ANSWER) == 1
    assert "100 open files are allowed" in server.log.read_text()


@pytest.mark.slow
def test_an_unread_pipe_stops_nobody(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Each refused request is a line on standard error, which nobody reads here."""
    server = Server("transformer.py", make_bundle("heart-disease", "logistic_regression"), tmp_path / "log")
    server.options = ("--predictor_host=127.0.0.1:1",)
    server.process = subprocess.Popen(server.command(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        server.wait()
        url = f"{server.url}/v1/models/heart-disease:predict"
        with http.client() as client:
            codes = {client.post(url, content=b"{}").status_code for _ in range(1000)}
        assert codes == {400}
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(ANSWER) == 0
    finally:
        server.end()
        assert server.process.stderr is not None
        server.process.stderr.close()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--workers=2", "--workers 2: "),
        ("--http_port=99999", "port 99999: "),
        ("--grpc_port=0", "port 0: "),
        ("--max_rows=-5", "--max_rows -5: "),
        ("--request_seconds=nan", "--request_seconds nan: "),
        ("--max_body_bytes=0", "--max_body_bytes 0: "),
        ("--predictor_host=http://predictor", "'http://predictor'"),
        ("--predictor_host=predictor:port", "'predictor:port'"),
        ("--predictor_host=predictor:99999", "'predictor:99999'"),
        ("--predictor_host=a b", "'a b'"),
        ("--predictor_request_timeout_seconds=0", "--predictor_request_timeout_seconds 0: "),
        ("TAKEN", "cannot be listened on"),
        ("TWICE", "expected a different one each"),
    ],
)
@pytest.mark.slow
def test_arguments_are_checked(make_bundle: Callable[..., Path], tmp_path: Path, option: str, words: str) -> None:
    """Before anything listens: one line says what is wrong."""
    server = Server("transformer.py", make_bundle("heart-disease", "logistic_regression"), tmp_path / "log")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if option in {"TAKEN", "TWICE"}:
            option = f"--grpc_port={taken.getsockname()[1] if option == 'TAKEN' else server.ports[0]}"
        server.options = ("--predictor_host=127.0.0.1:1", option)
        server.fork()
        assert server.process is not None
        assert server.process.wait(ANSWER) == 1
    (line,) = server.log.read_text().splitlines()
    assert line.startswith("transformer.py: ")
    assert words in line
    assert str(ROOT) not in line
    assert sys.executable not in line
