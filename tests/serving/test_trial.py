"""A silent trial: a challenger is asked the same rows, and nobody but the counts hears of its answers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.errors import SourceError
from healthrisk.inference.scorer import risk_levels
from healthrisk.monitoring import trial_status
from tests.support import http
from tests.support.commands import healthrisk
from tests.support.patience import ANSWER, until
from tests.support.servers import PATIENT_HOP, Pair, Server

pytestmark = pytest.mark.slow


@pytest.fixture
def challenger(make_bundle: Callable[..., Path], tmp_path: Path) -> Iterator[Server]:
    server = Server("predictor.py", make_bundle(), tmp_path / "challenger.log").fork().wait()
    yield server
    server.end()


@pytest.fixture
def on_trial(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair], challenger: Server) -> Iterator[Pair]:
    """A served linear model beside which a forest is tried."""
    mirrored = (f"--compared_bundle={challenger.bundle}", f"--compared_host=127.0.0.1:{challenger.ports[0]}")
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), PATIENT_HOP, *mirrored)
    yield pair
    pair.end()


def tensors(pair: Pair, rows: list[dict[str, Any]], as_tensors: Callable[..., Any]) -> dict[str, Any]:
    return {"inputs": as_tensors(pair.bundle, rows)}


def seen(pair: Pair) -> int:
    """Return how many rows of the trial have come to an end, well or badly."""
    (one,) = trial_status.read([pair.transformer.metrics]).trials
    return one.compared + one.failed


def test_agreement_is_that_of_the_two_offline(
    on_trial: Pair, challenger: Server, raw_rows: Any, as_tensors: Any, offline: Any
) -> None:
    rows = raw_rows(on_trial.bundle.path)
    for part in (rows[:1], rows[1:2], rows[2:]):
        http.post(on_trial.infer_url, json=tensors(on_trial, part, as_tensors)).raise_for_status()
    until(lambda: seen(on_trial) == len(rows))
    (status,) = trial_status.read([on_trial.transformer.metrics]).trials
    both = [offline(bundle, rows) for bundle in (on_trial.bundle, Bundle.open(challenger.bundle))]
    difference = np.abs(both[0][:, 1] - both[1][:, 1])
    levels = [np.array(risk_levels(on_trial.bundle.spec, one)) for one in both]
    assert (status.compared, status.failed, status.dropped) == (len(rows), 0, 0)
    assert status.largest_difference == pytest.approx(difference.max(), abs=1e-5)
    assert status.other_risk_level == pytest.approx((levels[0] != levels[1]).mean())
    # Of a histogram's bins.
    assert status.mean_difference == pytest.approx(difference.mean(), rel=0.35)
    assert status.slow_seconds is not None


def test_answers_are_the_same_to_the_last_byte(
    on_trial: Pair, challenger: Server, start_pair: Callable[..., Pair], raw_rows: Any, as_tensors: Any
) -> None:
    alone = start_pair(on_trial.bundle.path, PATIENT_HOP)
    try:
        for rows in (raw_rows(on_trial.bundle.path)[:1], raw_rows(on_trial.bundle.path)):
            asked = tensors(on_trial, rows, as_tensors)
            answers = [http.post(pair.infer_url, json=asked) for pair in (alone, on_trial)]
            assert answers[0].status_code == 200
            assert answers[0].content == answers[1].content
        challenger.end()
        # Also where nobody is there to be asked.
        before = seen(on_trial)
        assert http.post(on_trial.infer_url, json=asked).content == answers[0].content
        until(lambda: seen(on_trial) >= before + len(rows))
        assert trial_status.read([on_trial.transformer.metrics]).trials[0].failed >= len(rows)
    finally:
        alone.end()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--compared_bundle=/nowhere"], "--compared_host is missing"),
        (["--compared_host=127.0.0.1:1"], "--compared_bundle is missing"),
        (["--compared_bundle=OBESITY", "--compared_host=127.0.0.1:1"], "another columns"),
    ],
)
def test_what_cannot_be_tried_stops_the_server(
    make_bundle: Callable[..., Path], tmp_path: Path, options: list[str], says: str
) -> None:
    words = [option.replace("OBESITY", str(make_bundle("obesity"))) for option in options]
    server = Server("transformer.py", make_bundle(), tmp_path / "log", ("--predictor_host=127.0.0.1:1", *words))
    assert server.fork().process.wait(ANSWER) == 1
    (line,) = server.log.read_text().splitlines()
    assert says in line


def test_the_command_shows_a_trial_and_says_where_there_is_none(
    on_trial: Pair, heart_pair: Pair, raw_rows: Any, as_tensors: Any
) -> None:
    http.post(on_trial.infer_url, json=tensors(on_trial, raw_rows(on_trial.bundle.path)[:5], as_tensors))
    until(lambda: seen(on_trial) == 5)
    shown = healthrisk("rollout", "status", on_trial.transformer.metrics)
    assert shown.returncode == 0, shown.stderr
    assert '"compared": 5' in shown.stdout
    none = healthrisk("rollout", "status", heart_pair.transformer.metrics)
    assert none.returncode == 1
    assert "no silent trial is under way" in none.stderr
    with pytest.raises(SourceError, match="does not answer with metrics"):
        trial_status.read([f"{heart_pair.transformer.url}/v2"])
