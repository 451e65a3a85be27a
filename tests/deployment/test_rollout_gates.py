"""What a rollout asks of a real Prometheus, which reads what servers count; and what it makes of the answers."""

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, start_http_server

from healthrisk.bundle import Bundle
from healthrisk.bundle.reference import recount
from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.rollout_gates import Gate, PrometheusGates, judge, judge_drift
from healthrisk.deployment.rollout_plan import Plan, Rollout
from healthrisk.errors import SourceError
from healthrisk.inference.scorer import Scorer
from healthrisk.monitoring.drift import compare
from healthrisk.monitoring.service_health import ServiceHealth
from healthrisk.serving.metrics import Distributions, ServerMetrics
from tests.support import sample_bundle
from tests.support.prometheus import prometheus, wait_for
from tests.support.servers import free_ports

NAME, BESIDE = "heart-disease", "heart-disease-challenger"
SECONDS = 3600.0


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Bundle:
    return Bundle.open(make_bundle(family="logistic_regression"))


@pytest.fixture
def rollout(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rollout:
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path))
    champion = Deployed("1", "file:///elsewhere", "d" * 64)
    challenger = Deployed("2", bundle.path.as_uri(), bundle.digest)
    now = datetime.datetime.now(datetime.UTC)
    return Rollout(champion=champion, challenger=challenger, plan=Plan(requests=50), since=now)


class Served:
    """What the servers of one inference service count, on a metrics page of their own."""

    def __init__(self, service: str, bundle: Bundle) -> None:
        self.bundle, self.registry, (self.port,) = bundle, CollectorRegistry(), free_ports(1)
        self.requests = ServerMetrics(service, bundle, self.registry)
        self.rows = Distributions(service, bundle, self.registry)
        self.answer(1)

    def answer(self, count: int, code: int = 200, seconds: float = 0.002, older: float = 0.0) -> None:
        matrix, _ = sample_bundle.rows_of(self.bundle.spec, 7)
        matrix = np.resize(matrix, (count, matrix.shape[1])).copy()
        matrix[:, self.bundle.spec.features.index("age")] += older
        if code == 200:
            self.rows.add(matrix, Scorer(self.bundle).probabilities(matrix))
        for _ in range(count):
            self.requests.answered("v2", code, seconds, 1)


@pytest.fixture
def services(bundle: Bundle) -> Iterator[tuple[Served, Served]]:
    """A champion's servers and a challenger's."""
    served = Served(NAME, bundle), Served(BESIDE, bundle)
    pages = [start_http_server(one.port, "127.0.0.1", one.registry) for one in served]
    yield served
    for server, thread in pages:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def looking(services: tuple[Served, Served], tmp_path: Path) -> Iterator[str]:
    """A Prometheus that has read both pages once."""
    with prometheus(tmp_path, [{"targets": [f"127.0.0.1:{one.port}" for one in services]}]) as url:
        wait_for(url, "prediction_requests_total > 0", 2)
        yield url


def gates(url: str, rollout: Rollout, services: tuple[Served, Served]) -> dict[str, Gate]:
    """Return the gates once Prometheus has read all that was answered."""
    for served, service in zip(services, (NAME, BESIDE), strict=True):
        tally = served.requests.tally
        wait_for(url, f'sum(prediction_requests_total{{model="{service}"}}) >= {tally.answered + tally.refused}')
        wait_for(url, f'sum(predictions_by_class_total{{model="{service}"}}) >= {tally.rows}')
    return {gate.name: gate for gate in PrometheusGates(url)(NAME, rollout, SECONDS)}


def verdicts(gates_by_name: dict[str, Gate]) -> dict[str, str]:
    return {name: gate.verdict for name, gate in gates_by_name.items()}


def test_a_challenger_that_answers_well(services: tuple[Served, Served], looking: str, rollout: Rollout) -> None:
    services[1].answer(303)
    expected = dict.fromkeys(("requests", "errors", "latency", "drift"), "passed")
    assert verdicts(gates(looking, rollout, services)) == expected


def test_a_challenger_whom_nobody_has_asked(services: tuple[Served, Served], looking: str, rollout: Rollout) -> None:
    services[0].answer(303)
    assert verdicts(gates(looking, rollout, services))["requests"] == "inconclusive"


def test_a_challenger_that_fails_and_is_slow_on_other_patients(
    services: tuple[Served, Served], looking: str, rollout: Rollout
) -> None:
    services[0].answer(303)
    services[1].answer(303, seconds=0.4, older=25)
    services[1].answer(20, 503)
    judged = gates(looking, rollout, services)
    assert verdicts(judged) == {"requests": "passed", "errors": "failed", "latency": "failed", "drift": "failed"}
    assert judged["errors"].seen.endswith(", where 0.10% may")
    assert "age" in judged["drift"].seen


def test_what_the_champion_suffers_too(services: tuple[Served, Served], looking: str, rollout: Rollout) -> None:
    for served in services:
        served.answer(303)
        served.answer(20, 503)
    assert verdicts(gates(looking, rollout, services))["errors"] != "failed"


def test_a_challenger_that_answers_nobody(services: tuple[Served, Served], looking: str, rollout: Rollout) -> None:
    services[1].answer(60, 503)
    assert verdicts(gates(looking, rollout, services))["errors"] == "failed"


def test_a_silent_prometheus_is_an_error(rollout: Rollout) -> None:
    (port,) = free_ports(1)
    with pytest.raises(SourceError, match="does not answer as a Prometheus does"):
        PrometheusGates(f"http://127.0.0.1:{port}")(NAME, rollout, SECONDS)


@pytest.mark.parametrize(
    ("failed", "requests", "verdict"),
    [
        (0, 100, "passed"),
        # By chance in 9 of 100 rollouts: too little to go back by, too much to go on.
        (1, 100, "inconclusive"),
        (1, 1000, "passed"),
        (3, 100, "failed"),
        (6, 1000, "failed"),
        (100, 100, "failed"),
        (0, 0, "passed"),
    ],
)
def test_errors_are_told_from_chance(failed: int, requests: int, verdict: str) -> None:
    own = ServiceHealth(requests=requests, failed=failed, slow=0)
    judged = {gate.name: gate for gate in judge(own, ServiceHealth(requests=0, failed=0, slow=0), Plan())}
    assert judged["errors"].verdict == verdict


def test_drift_that_chance_makes_of_few_patients_is_waited_for(bundle: Bundle) -> None:
    """Of 100 times sixty of the same patients, held against the others, some look strongly drifted."""
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    scored, rng, verdicts = Scorer(bundle).probabilities(matrix), np.random.default_rng(60), list[str]()
    for _ in range(100):
        order = rng.permutation(len(matrix))
        sides = [
            recount(bundle.spec, bundle.reference, matrix[rows], scored[rows]) for rows in (order[60:], order[:60])
        ]
        verdicts.append(judge_drift(compare(*sides)).verdict)
    assert set(verdicts) == {"passed", "inconclusive"}


def test_how_often_a_good_challenger_is_sent_back() -> None:
    """Of many that keep to the limit exactly, fewer than one of a thousand looks sends one back."""
    rng = np.random.default_rng(1)
    nobody = ServiceHealth(requests=0, failed=0, slow=0)
    for requests in (100, 1000, 10_000):
        counts, times = np.unique(rng.binomial(requests, Plan().failed, 100_000), return_counts=True)
        healths = [ServiceHealth(requests=requests, failed=int(count), slow=0) for count in counts]
        sent_back = [judge(health, nobody, Plan())[1].verdict == "failed" for health in healths]
        assert float(times[sent_back].sum()) / 100_000 < 0.0013
