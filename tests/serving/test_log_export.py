"""What the servers say of a request reaches a real VictoriaLogs, and is found there by the request's ids."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import http
from tests.support.patience import until
from tests.support.servers import Pair
from tests.support.victoria_logs import lines, victoria_logs

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = TRACE[::-1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with victoria_logs(tmp_path_factory.mktemp("victoria-logs"), "-retentionPeriod=14d") as url:
        yield url


@pytest.fixture(scope="module")
def pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair], store: str) -> Iterator[Pair]:
    # It takes lines at once; spans are another's, and what is not taken holds nothing up.
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{store}/insert/opentelemetry", "OTEL_BLRP_SCHEDULE_DELAY": "100"}
    started = start_pair(make_bundle("heart-disease", "logistic_regression"), environment=environment)
    yield started
    started.end()


def ask(pair: Pair, rows: list[list[Any]], trace: str) -> int:
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": f"request-{trace[:4]}"}
    return http.post(pair.predict_url, json={"instances": rows}, headers=headers).status_code


def test_a_refused_request_is_found_by_its_trace_and_without_a_value(pair: Pair, store: str) -> None:
    wrong = [[987654.321] * len(pair.bundle.spec.features)]
    assert ask(pair, wrong, TRACE) == 400
    (line,) = until(lambda: lines(store, f'trace_id:"{TRACE}"'))
    expected = {"_msg": "request refused", "request_id": "request-4bf9", "code": "400", "reason": "range"}
    assert expected.items() <= line.items()
    assert line["service.name"] == f"{pair.bundle.spec.name}-transformer"
    assert "987654" not in json.dumps(lines(store, "*"))


def test_a_slow_request_is_found_by_its_id(pair: Pair, store: str) -> None:
    """The predictor stands still for longer than the objective allows."""
    os.kill(pair.predictor.pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, pair, pair.bundle.golden.rows[:1], OTHER)
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        os.kill(pair.predictor.pid, signal.SIGCONT)
        assert answer.result() == 200
    query = f'request_id:"request-{OTHER[:4]}" service.name:"{pair.bundle.spec.name}-transformer"'
    (line,) = until(lambda: lines(store, query))
    assert (line["_msg"], line["trace_id"], line["code"]) == ("request was slow", OTHER, "200")
    assert float(line["ms"]) >= 200
