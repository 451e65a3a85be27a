"""Each store is cut off from everybody under load by its own network policy: models answer, and nothing is lost."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed
from tests.support import http
from tests.support.cluster_faults import kill
from tests.support.gateway_load import Load
from tests.support.outcome_counts import counted, database, returned
from tests.support.patience import until

NAME = "readmission"
WHERE = ("--namespace", "healthrisk")
STORES = {
    "object-store": "statefulset/object-store",
    "prometheus": "deployment/prometheus",
    "alertmanager": "statefulset/alertmanager",
    "collector": "deployment/collector",
    "mlflow": "deployment/mlflow",
}
ASKED_BY_PROMETHEUS = {"alertmanager", "mlflow"}
KNOCK = """
import socket
try:
    socket.create_connection(("readmission-predictor.healthrisk", 80), timeout=5).close()
    print("open")
except OSError:
    print("closed")
"""
Kubectl = Callable[..., str]
Ask = Callable[[str], list[Any]]


@pytest.fixture(scope="module", autouse=True)
def _policies_are_enforced(served: tuple[Bundle, Deployed], in_cluster: Callable[..., Any]) -> None:
    if "open" in in_cluster("e2e-knock", KNOCK)[1]:
        pytest.skip("the cluster's network does not enforce policies")


@contextmanager
def cut(kubectl: Kubectl, policy: str, workload: str) -> Iterator[None]:
    """Let nobody reach a workload; its pod is replaced, since connections that are open may outlive a policy."""
    before = json.loads(kubectl(*WHERE, "get", "networkpolicy", policy, "--output=json"))["spec"]["ingress"]

    def admit(whom: list[Any]) -> None:
        change = [{"op": "replace", "path": "/spec/ingress", "value": whom}]
        kubectl(*WHERE, "patch", "networkpolicy", policy, "--type=json", "--patch", json.dumps(change))

    admit([])
    try:
        kill(kubectl, workload)
        yield
    finally:
        admit(before)


@pytest.mark.parametrize("store", STORES)
def test_predictions_go_on(store: str, kubectl: Kubectl, load: Load, ask: Ask) -> None:
    with cut(kubectl, store, STORES[store]):
        asked = load.statuses.total()
        until(lambda: load.statuses.total() > asked + 100)
        if store in ASKED_BY_PROMETHEUS:
            until(lambda: ask(f'ALERTS{{alertname="ServiceUnreachable", job="{store}"}}'))
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])


def test_outcomes_wait_for_their_database(kubectl: Kubectl, load: Load, forward: Callable[..., str]) -> None:
    served = load.bundle
    until(lambda: len(load.receipts) >= 40)
    receipts = load.receipts[:40]
    address, url = database(kubectl, forward), f"http://{forward('outcomes', 80)}/v1/outcomes"
    value = served.spec.target.classes[0].raw[-1]
    before = counted(address, NAME)
    assert all(returned(url, receipt, value) for receipt in receipts[:20])
    with cut(kubectl, "postgres", "statefulset/postgres"):
        body = {"outcomes": [{"receipt": receipts[20], "outcome": value}]}
        try:
            status = http.post(url, json=body).status_code
        except httpx.HTTPError as error:
            status = repr(error)
        assert status == 503
    until(lambda: all(returned(url, receipt, value) for receipt in receipts))
    assert counted(address, NAME) - before == len(receipts)
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])
