"""Outcomes that come back over HTTP."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from healthrisk.bundle import Bundle
from healthrisk.monitoring.outcome_service import LIMITS
from healthrisk.monitoring.outcome_store import OutcomeStore
from tests.support import http
from tests.support.mutation import mutated_body
from tests.support.outcomes import KEY, OutcomeService, link_bundle, outcomes_of
from tests.support.patience import ANSWER, until
from tests.support.servers import ROOT

Start = Callable[..., OutcomeService]
HEART = "heart-disease"


@pytest.fixture
def bundle(bundle_of: Callable[..., Bundle]) -> Bundle:
    return bundle_of(HEART, "logistic_regression")


def counted(address: str) -> int:
    """Return how many outcomes of heart disease have been counted."""
    store = OutcomeStore(address)
    cells = store.counts(HEART)
    store.close()
    return sum(count for cell, count in cells.items() if not cell.grouping)


def send(service: OutcomeService, outcomes: list[Any]) -> httpx.Response:
    return http.post(service.outcomes_url, json={"outcomes": outcomes})


def test_outcomes_are_counted_once(address: str, start_outcomes: Start, bundle: Bundle) -> None:
    service, outcomes = start_outcomes(address, bundle), outcomes_of(bundle)
    first = send(service, outcomes)
    rows = len(outcomes)
    assert (first.status_code, first.json()) == (200, {"rows": rows, "counted": rows, "repeated": 0, "refused": []})
    assert counted(address) == rows
    again = send(service, outcomes[:9])
    assert (again.status_code, again.json()["repeated"]) == (200, 9)
    other = send(service, [{**outcomes[0], "outcome": 1 - min(outcomes[0]["outcome"], 1)}, outcomes[1]])
    assert other.status_code == 400
    assert other.json()["refused"] == [
        {"row": 0, "kind": "contradiction", "reason": "this receipt was counted with another outcome"}
    ]
    assert other.json()["repeated"] == 1
    assert counted(address) == rows


def test_what_is_good_beside_what_is_refused_is_counted(tmp_path: Path, start_outcomes: Start, bundle: Bundle) -> None:
    address = f"sqlite:///{tmp_path}/outcomes.db"
    service, (one, two, *_) = start_outcomes(address, bundle), outcomes_of(bundle)
    answer = send(service, [{**one, "outcome": 98765}, two, {**one, "receipt": one["receipt"][:-4]}])
    assert answer.status_code == 400
    body = answer.json()
    assert body["error"] == "2 of 3 outcomes refused; row 0: outcome is 98765, expected one of 0, 1, 2, 3, 4"
    assert [(one["row"], one["kind"]) for one in body["refused"]] == [(0, "outcome"), (2, "receipt")]
    assert counted(address) == 1
    page = http.get(service.metrics).text
    assert 'outcomes_returned_total{kind="outcome",result="refused"} 1.0' in page
    assert 'outcome_requests_total{code="400"} 1.0' in page
    log = service.log.read_text()
    assert '"reason": "outcome"' in log
    assert "98765" not in log
    assert one["receipt"][-22:] not in log


BAD = [
    ("not JSON", 400, "not valid JSON"),
    ("[]", 400, "'outcomes'"),
    ('{"outcomes": []}', 400, "at least one"),
    ('{"outcomes": {"receipt": "x"}}', 400, "at least one"),
    ('{"outcomes": [7]}', 400, "row 0: 7, expected an object"),
    ('{"outcomes": [{"receipt": "x", "outcome": 1, "name": "Jane"}]}', 400, "row 0: has 'name'"),
    ('{"outcomes": [{"receipt": "x", "receipt": "y", "outcome": 1}]}', 400, "twice"),
    ('{"outcomes": [{"outcome": 1}]}', 400, "receipt is missing"),
    ('{"outcomes": [{"receipt": "forged", "outcome": 1}]}', 400, "row 0: receipt"),
    (json.dumps({"outcomes": [{"receipt": "x", "outcome": 1}] * (LIMITS.max_rows + 1)}), 413, "at most 1000"),
    (" " * (LIMITS.max_body_bytes + 1), 413, "at most 2097152"),
    ('{"outcomes": ' + "[" * 500 + "]" * 500 + "}", 400, "row 0: a list"),
]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, bundle_of: Callable[..., Bundle]
) -> Iterator[tuple[OutcomeService, str]]:
    """A service for requests that change nothing, and a receipt that it believes."""
    home = tmp_path_factory.mktemp("outcomes")
    one = bundle_of(HEART, "logistic_regression")
    link_bundle(home, one)
    own = {"HEALTHRISK_HOME": str(home), "HEALTHRISK_RECEIPT_KEY": KEY}
    started = OutcomeService("outcome-service", home, home / "log", (), own)
    started.fork().wait()
    yield started, outcomes_of(one)[0]["receipt"]
    started.end()


@pytest.mark.parametrize(("body", "status", "says"), BAD, ids=[says for *_, says in BAD])
def test_a_request_that_is_not_of_the_form_is_refused(
    service: tuple[OutcomeService, str], body: str, status: int, says: str
) -> None:
    answer = http.post(service[0].outcomes_url, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert says in answer.json()["error"]


@pytest.mark.parametrize("outcome", [None, "", True, 0.5, "yes", [1], {}, [[[[]]]] * 3, 10**30, "x" * 500])
def test_an_outcome_that_the_spec_does_not_know_is_named(service: tuple[OutcomeService, str], outcome: Any) -> None:
    answer = send(service[0], [{"receipt": service[1], "outcome": outcome}])
    assert answer.status_code == 400
    assert "expected one of 0, 1, 2, 3, 4" in answer.json()["error"]
    assert len(answer.content) < 1000


def test_mutated_requests_are_answered_by_what_is_wrong(service: tuple[OutcomeService, str]) -> None:
    chance = random.Random(0)
    with http.client() as client:
        for _ in range(300):
            one = {"receipt": service[1], "outcome": 5, "observed_at": "2026-01-01"}
            body = mutated_body({"outcomes": [dict(one) for _ in range(chance.randrange(1, 4))]}, chance)
            answer = client.post(service[0].outcomes_url, content=body)
            assert answer.status_code in {200, 400, 413}, body
            assert (answer.status_code == 200) != ("error" in answer.json())
        assert client.get(f"{service[0].url}/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/outcomes", 405), ("POST", "/v1/outcome", 404), ("PUT", "/", 404)]
)
def test_there_is_one_path(service: tuple[OutcomeService, str], method: str, path: str, status: int) -> None:
    assert httpx.request(method, f"{service[0].url}{path}").status_code == status


def test_what_cannot_be_reached_is_said_and_nothing_is_counted(
    tmp_path: Path, start_outcomes: Start, bundle: Bundle
) -> None:
    address = f"sqlite:///{tmp_path}/outcomes.db"
    service, outcomes = start_outcomes(address, bundle), outcomes_of(bundle)[:3]
    link = link_bundle(tmp_path, bundle)
    link.unlink()
    answer = send(service, outcomes)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert "nothing was counted" in answer.json()["error"]
    assert counted(address) == 0
    link_bundle(tmp_path, bundle)
    assert send(service, outcomes).json()["counted"] == 3


def test_a_kill_counts_nothing_twice(address: str, start_outcomes: Start, bundle: Bundle) -> None:
    outcomes = outcomes_of(bundle)
    service = start_outcomes(address, bundle)
    answered: list[int] = []

    def send_all() -> None:
        for place in range(0, len(outcomes), 10):
            try:
                answered.append(send(service, outcomes[place : place + 10]).json()["counted"])
            except httpx.TransportError:
                return

    sender = threading.Thread(target=send_all)
    sender.start()
    until(lambda: answered)
    service.end(signal.SIGKILL)
    sender.join()
    before = counted(address)
    assert sum(answered) <= before < len(outcomes), "all was counted before the service was killed"
    again = send(start_outcomes(address, bundle), outcomes).json()
    assert (again["counted"], again["repeated"]) == (len(outcomes) - before, before)
    assert counted(address) == len(outcomes)


@pytest.mark.parametrize(
    ("key", "words", "says"),
    [
        ("", [], "HEALTHRISK_RECEIPT_KEY is not set"),
        ("short-but-mine", [], "shorter than 32"),
        (KEY, ["--http_port=8099", "--metrics_port=8099"], "expected two"),
        (KEY, ["--http_port=70000"], "expected a number from 1"),
    ],
)
@pytest.mark.slow
def test_a_start_that_cannot_be_is_one_line(tmp_path: Path, key: str, words: list[str], says: str) -> None:
    own = {"HEALTHRISK_HOME": str(tmp_path), "HEALTHRISK_RECEIPT_KEY": key}
    service = OutcomeService("outcome-service", tmp_path, tmp_path / "log", tuple(words), own)
    assert service.fork().process.wait(ANSWER) == 1
    (line,) = service.log.read_text().splitlines()
    assert says in line
    assert "short-but-mine" not in line


@pytest.mark.slow
def test_make_serve_takes_the_outcomes_of_its_predictions(tmp_path: Path, bundle: Bundle, port: int) -> None:
    link_bundle(tmp_path, bundle)
    own = {"HEALTHRISK_HOME": str(tmp_path), "HEALTHRISK_RECEIPT_KEY": KEY}
    log = tmp_path / "log"
    command = [sys.executable, str(ROOT / "kserve" / "serve.py"), f"--bundle={bundle.path}", f"--port={port}"]
    with log.open("wb") as file:
        served = subprocess.Popen([*command, "--no-explain"], stdout=file, stderr=file, env=os.environ | own)
    try:
        until(lambda: "outcomes " in log.read_text() or served.poll() is not None, log.read_text)
        asked = {"instances": bundle.golden.rows[:3]}
        answer = http.post(f"http://127.0.0.1:{port}/v1/models/{HEART}:predict", json=asked).json()
        outcomes = [{"receipt": one["receipt"], "outcome": 1} for one in answer["predictions"]]
        url = f"http://127.0.0.1:{port + 8}/v1/outcomes"
        assert http.post(url, json={"outcomes": outcomes}).json()["counted"] == 3
    finally:
        served.terminate()
        assert served.wait(ANSWER) == 0
