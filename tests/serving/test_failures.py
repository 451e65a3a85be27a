"""What breaks: the predictor, the load, a server that stops or rolls. Every test breaks real processes."""

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
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
from grpc_health.v1 import health_pb2, health_pb2_grpc

from healthrisk.bundle import Bundle
from tests.support import http
from tests.support.patience import ANSWER, until
from tests.support.servers import PATIENT, ROOT, Pair, Server, body_of, grpc_code

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *PATIENT)
    yield pair
    pair.end()


@dataclass
class Load:
    """Clients that ask without pause, each over its own connection, until told to stop or to go elsewhere."""

    url: str
    body: bytes
    clients: int = 4
    answers: list[tuple[float, int]] = field(default_factory=list)
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
            thread.join(ANSWER)
            assert not thread.is_alive(), "a request hangs"

    def _ask(self) -> None:
        with http.client() as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    answer = client.post(self.url, content=self.body)
                    code = answer.status_code
                except httpx.ConnectError:
                    code = -1
                except httpx.TransportError:
                    code = 0
                self.answers.append((began, code))
                if code < 200:
                    time.sleep(0.02)
                elif answer.headers.get("connection") == "close":
                    return

    def wait_for(self, code: int, count: int = 1) -> float:
        """Wait for so many answers with a code to requests begun from now on; return the time from which they began."""
        began = time.monotonic()
        until(lambda: self.codes(began)[code] >= count, lambda: self.codes(began))
        return began

    def wait_until_sent_away(self) -> None:
        """Wait until every client was told to go elsewhere."""
        until(lambda: not any(thread.is_alive() for thread in self._threads), self.codes)

    def codes(self, since: float = 0.0) -> Counter[int]:
        return Counter(code for at, code in list(self.answers) if at >= since)


def test_predictor_killed_under_load(pair: Pair) -> None:
    with Load(pair.predict_url, body_of(pair)) as load:
        load.wait_for(200)
        for _ in range(2):
            pair.predictor.end(signal.SIGKILL)
            load.wait_for(503)
            answer = http.post(pair.predict_url, content=body_of(pair))
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "predictor" in answer.json()["error"]
            assert grpc_code(pair) is grpc.StatusCode.UNAVAILABLE
            pair.predictor.fork().wait()
            load.wait_for(200)
            settled = load.wait_for(200, count=100)
            assert set(load.codes(settled)) == {200}
    assert set(load.codes()) <= {200, 503}


def test_predictor_stopped(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> None:
    limits = (*PATIENT, "--predictor_request_timeout_seconds=2")
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *limits)
    try:
        check_a_stopped_predictor(pair)
    finally:
        pair.end()


def check_a_stopped_predictor(pair: Pair) -> None:
    base, name = pair.transformer.url, pair.bundle.spec.name
    # On a busy machine a good answer may take longer than a predictor has here.
    until(lambda: http.post(pair.predict_url, content=body_of(pair)).status_code == 200)
    until(lambda: grpc_code(pair) is grpc.StatusCode.OK)
    pair.predictor.send(signal.SIGSTOP)
    assert grpc_code(pair) is grpc.StatusCode.DEADLINE_EXCEEDED
    with Load(pair.predict_url, body_of(pair)) as load:
        load.wait_for(504)
        # Whoever does not need the predictor does not notice.
        for answer in (
            http.get(f"{base}/v2/health/ready"),
            http.get(f"{base}/v2/models/{name}"),
        ):
            assert answer.status_code == 200
        assert http.post(pair.predict_url, content=b'{"instances": [{}]}').status_code == 400
        pair.predictor.send(signal.SIGCONT)
        load.wait_for(200)
    assert set(load.codes()) == {200, 504}
    metrics = http.get(pair.transformer.metrics).text
    assert f'predictor_hop_errors_total{{model="{name}",reason="predictor_timeout"}}' in metrics


def unready(server: Server) -> httpx.Response | None:
    """Return the answer of a server that says it is not ready."""
    answer = http.get(f"{server.url}/v2/health/ready")
    return answer if answer.status_code == 503 else None


# As long as the checks take; told a second time, a server drains no longer.
LONG = (*PATIENT, f"--drain_seconds={ANSWER:g}")


def test_sigterm_drains(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> None:
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *LONG)
    assert pair.transformer.process is not None
    try:
        check_draining(pair.transformer, pair.predict_url, body_of(pair), pair.transformer.process)
    finally:
        pair.end()


def test_serve_drains(make_bundle: Callable[..., Path], port: int) -> None:
    """`make serve` keeps the predictor for as long as the transformer drains."""
    bundle = make_bundle("heart-disease", "logistic_regression")
    transformer = Server("transformer.py", bundle, Path(os.devnull), ports=[port, port + 1, port + 4])
    model = Bundle.open(bundle)
    url = f"{transformer.url}/v1/models/{model.spec.name}:predict"
    command = [sys.executable, str(ROOT / "kserve" / "serve.py"), f"--bundle={bundle}", f"--port={port}", *LONG]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("serving heart-disease")
            check_draining(transformer, url, json.dumps({"instances": model.golden.rows[:1]}).encode(), process)
        finally:
            process.kill()


def check_draining(transformer: Server, url: str, body: bytes, process: Any) -> None:
    """Tell a process to stop, and see that its transformer says so, answers on, and ends when it is told again."""
    with Load(url, body, clients=8) as load:
        load.wait_for(200)
        process.terminate()
        draining = until(lambda: unready(transformer))
        assert draining.json() == {"error": "draining"}
        assert draining.headers["retry-after"]
        with grpc.insecure_channel(transformer.grpc) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        late = http.post(url, content=body)
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        with Load(url, body, clients=8) as newcomers:
            newcomers.wait_until_sent_away()
        load.wait_until_sent_away()
        process.terminate()
        assert process.wait(ANSWER) == 0
    assert set(load.codes()) == {200}, load.codes()
    # Each on its first request, which began after the server had said that it stops.
    assert newcomers.codes() == {200: 8}


def test_two_replicas_roll_to_a_new_champion(make_bundle: Any, start_pair: Callable[..., Pair]) -> None:
    """Behind a balancer that sends to whoever is in service, replacing one replica after the other loses nothing."""
    old, new = make_bundle("heart-disease", "logistic_regression"), make_bundle("heart-disease", "random_forest")
    replicas = [start_pair(old, *LONG) for _ in range(2)]
    ready = list(replicas)
    versions, answers, stop = set(), list[httpx.Response](), threading.Event()

    def ask() -> None:
        # A connection of its own for every request, as a balancer makes them.
        with http.client(limits=httpx.Limits(max_keepalive_connections=0)) as client:
            for turn in itertools.count():
                if stop.is_set():
                    return
                pair = ready[turn % len(ready)]
                answers.append(client.post(pair.predict_url, content=body_of(pair)))
                versions.add(pair.bundle.version)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for position in range(2):
            leaving, replicas[position] = replicas[position], start_pair(new, *LONG)
            leaving.transformer.send(signal.SIGTERM)
            until(lambda leaving=leaving: unready(leaving.transformer))
            # The balancer learns of it a moment later, and by then has sent some more there.
            ready[position] = replicas[position]
            answered = len(answers)
            until(lambda answered=answered: len(answers) > answered + len(ready))
            assert leaving.transformer.end(signal.SIGTERM) == 0
            leaving.predictor.send(signal.SIGTERM)
            until(lambda leaving=leaving: unready(leaving.predictor))
            assert leaving.predictor.end(signal.SIGTERM) == 0
    finally:
        stop.set()
        thread.join(ANSWER)
        for pair in replicas:
            pair.end()
    assert [answer.text for answer in answers if answer.status_code != 200] == []
    assert len(versions) == 2


def test_a_predictor_of_another_version_is_not_asked(make_bundle: Any, tmp_path: Path) -> None:
    other = make_bundle("heart-disease", "random_forest")
    predictor = Server("predictor.py", other, tmp_path / "p", PATIENT).fork().wait()
    host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
    bundle = make_bundle("heart-disease", "logistic_regression")
    transformer = Server("transformer.py", bundle, tmp_path / "t", (host, *PATIENT)).fork().wait()
    try:
        rows = json.loads((bundle / "golden.json").read_text())["rows"][:1]
        answer = http.post(f"{transformer.url}/v1/models/heart-disease:predict", json={"instances": rows})
        assert answer.status_code == 503
        assert "another version" in answer.json()["error"]
    finally:
        predictor.end()
        transformer.end()


class Balancer(socketserver.BaseRequestHandler):
    """Takes each new connection to the next of the server's `ports`."""

    def handle(self) -> None:
        port = next(self.server.ports)  # type: ignore[attr-defined]
        with socket.create_connection(("127.0.0.1", port)) as onward, contextlib.suppress(ConnectionError):
            ends = {self.request: onward, onward: self.request}
            while True:
                for end in select.select(ends, [], [])[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)


def test_predictors_of_two_versions_behind_one_address(make_bundle: Any, tmp_path: Path) -> None:
    """As while a Deployment of predictors rolls: either version's transformer finds its own."""
    bundles = [make_bundle("heart-disease", family) for family in ("logistic_regression", "random_forest")]
    servers = [Server("predictor.py", one, tmp_path / f"p{n}", PATIENT).fork() for n, one in enumerate(bundles)]
    balancer = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Balancer)
    balancer.ports = itertools.cycle([server.wait().ports[0] for server in servers])  # type: ignore[attr-defined]
    thread = threading.Thread(target=balancer.serve_forever)
    thread.start()
    try:
        options = (f"--predictor_host=127.0.0.1:{balancer.server_address[1]}", *PATIENT)
        for number, bundle in enumerate(bundles):
            transformer = Server("transformer.py", bundle, tmp_path / f"t{number}", options).fork()
            servers.append(transformer)
            body = {"instances": json.loads((bundle / "golden.json").read_text())["rows"][:1]}
            url = f"{transformer.wait().url}/v1/models/heart-disease:predict"
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _, url=url, body=body: http.post(url, json=body), range(100)))
            assert {answer.status_code for answer in answers} == {200}
    finally:
        for server in servers:
            server.end()
        balancer.shutdown()
        balancer.server_close()
        thread.join()


def test_overload_is_refused_at_once(make_bundle: Any, start_pair: Callable[..., Pair]) -> None:
    """With as many requests under way as may be, others are refused before any of those has its answer."""
    limit, others = 8, 40
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *PATIENT, f"--max_in_flight={limit}")
    answers: list[httpx.Response] = []

    def ask(_: int) -> None:
        answers.append(http.post(pair.predict_url, content=body_of(pair)))

    try:
        pair.predictor.send(signal.SIGSTOP)
        with ThreadPoolExecutor(limit + others) as clients:
            for number in range(limit + others):
                clients.submit(ask, number)
            until(lambda: len(answers) == others, lambda: answers)
            assert {answer.status_code for answer in answers} == {503}
            assert all(answer.headers["retry-after"] for answer in answers)
            pair.predictor.send(signal.SIGCONT)
        assert Counter(answer.status_code for answer in answers) == {503: others, 200: limit}
    finally:
        pair.end()
