"""Every query of the dashboard gives numbers, asked of a real Prometheus that reads our real servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.inference.scorer import golden_matrix
from tests.support import http
from tests.support.dashboard import DASHBOARD, PANELS, quick, recording_rules
from tests.support.outcomes import KEY, OutcomeService, link_bundle, outcomes_of
from tests.support.prometheus import prometheus, wait_for
from tests.support.servers import Pair, Server

QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


@pytest.fixture(scope="module")
def dashboard_prometheus(
    make_bundle: Callable[..., Path], start_pair: Callable[..., Pair], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A Prometheus with our rules, beside servers that are asked all the time; yields its address."""
    folder = tmp_path_factory.mktemp("outcomes")
    own = {"HEALTHRISK_HOME": str(folder), "HEALTHRISK_RECEIPT_KEY": KEY}
    tried = Server("predictor.py", make_bundle("heart-disease", "random_forest"), folder / "tried").fork()
    compared = (f"--compared_bundle={tried.bundle}", f"--compared_host=127.0.0.1:{tried.ports[0]}")
    pair = start_pair(make_bundle("heart-disease", "logistic_regression"), *compared, environment=own)
    link_bundle(folder, pair.bundle)
    service = OutcomeService("outcome-service", folder, folder / "log", environment=own)
    targets = [
        {
            "targets": [f"127.0.0.1:{server.ports[2]}"],
            "labels": {"service": "heart-disease", "component": component, "pod": component},
        }
        for server, component in (
            (pair.predictor, "predictor"),
            (pair.transformer, "transformer"),
            (service, "outcomes"),
        )
    ]
    try:
        with (
            traffic(pair),
            prometheus(tmp_path_factory.mktemp("prometheus"), targets, recording_rules(), job="model-servers") as url,
            outcomes_back(service, pair.bundle, url),
        ):
            yield url
    finally:
        pair.end()
        tried.end()


@contextmanager
def outcomes_back(service: OutcomeService, bundle: Bundle, url: str) -> Iterator[None]:
    """Run the service that takes outcomes beside a Prometheus, and bring it one for each patient."""
    service.options = (f"--prometheus={url}", "--assess_seconds=1")
    service.start().wait()
    try:
        http.post(service.outcomes_url, json={"outcomes": outcomes_of(bundle)}).raise_for_status()
        yield
    finally:
        service.end()


@contextmanager
def traffic(pair: Pair) -> Iterator[None]:
    """Ask for predictions, a value missing in some, and now and then wrongly, until the context ends."""
    golden = pair.bundle.golden
    rows = encoding.decode(pair.bundle.spec, golden_matrix(pair.bundle.spec, golden.rows))
    stop = threading.Event()

    def ask() -> None:
        with http.client() as client:
            while not stop.wait(0.2):
                client.post(pair.predict_url, json={"instances": rows})
                client.post(pair.predict_url, json={"instances": [[1]]})

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_gives_numbers(title: str, query: str, dashboard_prometheus: str) -> None:
    """A window of seconds may hold nothing for a while, as a quantile of no requests is NaN."""
    assert wait_for(dashboard_prometheus, quick(query))


def test_every_panel_says_what_it_shows() -> None:
    assert len({title for title, _ in QUERIES}) == len(PANELS) >= 8
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] in {"prometheus", "jaeger"}
        assert panel["fieldConfig"]["defaults"]["unit"]
