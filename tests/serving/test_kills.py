"""kill -9 of any server under load, over every protocol: whatever a caller was answered is in the record.

KILLS=100 pytest tests/serving/test_kills.py kills that often; without it, a dozen times.
"""

import itertools
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import golden_matrix
from healthrisk.receipts.token import number_of
from healthrisk.records.keyed_digest import KeyedDigest
from healthrisk.records.places import open_place
from healthrisk.records.verify import Rules, verify
from tests.support import http
from tests.support.patience import ANSWER, until
from tests.support.records import RECORD_KEY, entries_in, record_variables
from tests.support.servers import PATIENT, Pair, Server

KILLS = int(os.environ.get("KILLS") or 12)
# The transformer most often: it is whom callers ask.
TURNS = ("transformer", "explainer", "transformer", "predictor")
CALLERS = 2
# A channel of its own, which neither asks again by itself nor waits longer each time for a server to come back.
ALONE = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
]

pytestmark = pytest.mark.slow
Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a caller got: the status, and the receipt of the one row if it is a prediction."""

    status: int
    receipt: str = ""


# Asks about a row in a caller's name; None where the server is gone.
Ask = Callable[[Row, str], Answer | None]
Connect = Callable[[], AbstractContextManager[Ask]]


class Caller(threading.Thread):
    """Asks about one patient after the other, each time by another name, whatever is killed meanwhile."""

    def __init__(self, name: str, rows: list[Row], connect: Connect, stop: threading.Event) -> None:
        super().__init__(name=name)
        self.answers: dict[str, tuple[Row, Answer]] = {}
        self._rows, self._connect, self._stop_asking = rows, connect, stop

    def run(self) -> None:
        with self._connect() as ask:
            for number, row in enumerate(itertools.cycle(self._rows)):
                if self._stop_asking.is_set():
                    return
                name = f"{self.name}-{number}"
                if answer := ask(row, name):
                    self.answers[name] = (row, answer)
                if answer is None or answer.status != 200:
                    self._stop_asking.wait(0.05)


@contextmanager
def over_http(url: str, body: Callable[[Row], Any], receipt: Callable[[Any], str]) -> Iterator[Ask]:
    with http.client() as client:

        def ask(row: Row, name: str) -> Answer | None:
            try:
                answer = client.post(url, json=body(row), headers={"x-caller": name})
            except httpx.TransportError:
                return None
            return Answer(answer.status_code, receipt(answer.json()) if answer.status_code == 200 else "")

        yield ask


@contextmanager
def over_grpc(address: str, bundle: Bundle) -> Iterator[Ask]:
    with grpc.insecure_channel(address, options=ALONE) as channel:
        stub = GRPCInferenceServiceStub(channel)

        def ask(row: Row, name: str) -> Answer | None:
            message = pb.ModelInferRequest(model_name=bundle.spec.name)
            for feature, value in row.items():
                tensor = message.inputs.add(name=feature, datatype="FP64", shape=[1])
                tensor.contents.fp64_contents.append(np.nan if value is None else value)
            try:
                answer = stub.ModelInfer(message, timeout=ANSWER, metadata=(("x-caller", name),))
            except grpc.RpcError:
                # Of a server that is gone, or that says that the predictor is: both are UNAVAILABLE.
                return None
            return Answer(200, answer.parameters["receipt"].string_param)

        yield ask


def make_callers(
    pair: Pair, explainer: Server, rows: list[Row], as_tensors: Any, stop: threading.Event
) -> list[Caller]:
    explain = f"{explainer.url}/v1/models/{pair.bundle.spec.name}:explain"

    def instances(row: Row) -> Any:
        return {"instances": [row]}

    def tensors(row: Row) -> Any:
        return {"inputs": as_tensors(pair.bundle, [row])}

    kinds: dict[str, Connect] = {
        "v1": lambda: over_http(pair.predict_url, instances, lambda said: said["predictions"][0]["receipt"]),
        "v2": lambda: over_http(pair.infer_url, tensors, lambda said: said["parameters"]["receipt"]),
        "grpc": lambda: over_grpc(pair.transformer.grpc, pair.bundle),
        "explain": lambda: over_http(explain, instances, lambda _: ""),
    }
    return [Caller(f"{kind}-{n}", rows, connect, stop) for kind, connect in kinds.items() for n in range(CALLERS)]


@contextmanager
def calling(callers: list[Caller], stop: threading.Event) -> Iterator[None]:
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        stop.set()
        for caller in callers:
            caller.join(ANSWER)


def wait_for_more(callers: list[Caller], more: int) -> None:
    """Wait until every caller has had so many predictions or explanations more."""

    def count() -> list[int]:
        return [sum(answer.status == 200 for _, answer in list(caller.answers.values())) for caller in callers]

    before = count()
    until(lambda: all(now - then >= more for now, then in zip(count(), before, strict=True)))


@pytest.fixture
def servers(
    make_bundle: Callable[..., Path], start_pair: Callable[..., Pair], tmp_path: Path
) -> Iterator[tuple[Pair, Server]]:
    """A served model and its explainer that write a record below one folder."""
    bundle = make_bundle("heart-disease", "logistic_regression")
    variables = record_variables(tmp_path / "records")
    pair = start_pair(bundle, *PATIENT, environment=variables)
    options = ("--predictor_host=127.0.0.1:1", *PATIENT)
    explainer = Server("explainer.py", bundle, tmp_path / "explainer.log", options, variables).fork().wait()
    yield pair, explainer
    explainer.end()
    pair.end()


def test_no_acknowledged_request_is_missing_after_kills_of_any_server_under_load(
    servers: tuple[Pair, Server], tmp_path: Path, raw_rows: Any, as_tensors: Any
) -> None:
    pair, explainer = servers
    draw, stop = random.Random(7), threading.Event()
    callers = make_callers(pair, explainer, raw_rows(pair.bundle.path), as_tensors, stop)
    kinds = {"transformer": pair.transformer, "predictor": pair.predictor, "explainer": explainer}
    killed = [name for name, _ in zip(itertools.cycle(TURNS), range(KILLS))]
    with calling(callers, stop):
        for name in killed:
            wait_for_more(callers, draw.randrange(1, 20))
            assert kinds[name].end(signal.SIGKILL) == -signal.SIGKILL
            kinds[name].fork().wait()
        wait_for_more(callers, 1)
    written = {one.caller: one for one in entries_in(tmp_path / "records")}
    answers = {name: answer for caller in callers for name, answer in caller.answers.items()}
    assert set(answers) <= set(written)
    digest = KeyedDigest(RECORD_KEY.encode())
    for name, (row, answer) in answers.items():
        inputs = digest.of(golden_matrix(pair.bundle.spec, [list(row.values())]))
        receipts = [number_of(answer.receipt).hex()] if answer.receipt else []
        one = written[name]
        assert (one.status, list(one.inputs), list(one.receipts)) == (answer.status, inputs, receipts)
    receipts = [answer.receipt for _, answer in answers.values() if answer.receipt]
    assert len(set(receipts)) == len(receipts)
    # While the predictor is gone, one is told 503.
    told = {200, 503} if "predictor" in killed else {200}
    assert {answer.status for _, answer in answers.values()} == told
    # Every process that was killed leaves a segment of its own; the predictor writes none.
    chains = verify(open_place(str(tmp_path / "records")), Rules()).chains
    segments = {kind: one.segments for one in chains for kind in kinds if f"-{kind}-" in one.chain}
    assert segments == {kind: killed.count(kind) + 1 for kind in ("transformer", "explainer")}
    assert len(chains) == len(segments)
    print(f"{len(killed)} kills, {len(answers)} acknowledged requests, {len(written)} on record")
