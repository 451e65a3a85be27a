"""Every pod of the platform is killed in turn under load: what is served goes on, and nothing that was told is lost."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed
from tests.support.cluster_faults import kill
from tests.support.gateway import SELECTOR
from tests.support.gateway_load import Load
from tests.support.outcome_counts import counted, database, returned
from tests.support.patience import until

NAME = "readmission"
# Nobody who asks for a prediction asks them.
BEHIND = (
    "statefulset/postgres",
    "statefulset/object-store",
    "statefulset/alertmanager",
    "deployment/mlflow",
    "deployment/outcomes",
    "deployment/prometheus",
    "deployment/kube-state-metrics",
    "deployment/push-gateway",
    "deployment/collector",
    "deployment/jaeger",
    "deployment/victoria-logs",
    "deployment/grafana",
    f"deployment/{NAME}-explainer",
)
ENVOY = "envoy-gateway-system"
Kubectl = Callable[..., str]


@pytest.mark.parametrize("workload", BEHIND)
def test_no_prediction_depends_on_what_stands_behind(workload: str, kubectl: Kubectl, load: Load) -> None:
    words = ("--namespace", "healthrisk", "get", workload, "--ignore-not-found", "--output=jsonpath={.spec.replicas}")
    if kubectl(*words) in {"", "0"}:
        pytest.skip("the cluster has none: make kind-up without PROFILE=small")
    kill(kubectl, workload)
    asked = load.statuses.total()
    until(lambda: load.statuses.total() > asked + 20)
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])


def test_no_prediction_depends_on_who_configures_the_gateway(kubectl: Kubectl, load: Load) -> None:
    kill(kubectl, "deployment/envoy-gateway", ENVOY)
    asked = load.statuses.total()
    until(lambda: load.statuses.total() > asked + 20)
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])


def test_a_killed_gateway_is_back_and_lets_the_same_in(kubectl: Kubectl, load: Load) -> None:
    listed = ("--namespace", ENVOY, "get", "deployments", f"--selector={SELECTOR}", "--output=name")
    kill(kubectl, kubectl(*listed).strip(), ENVOY)
    right = load.statuses[200]
    until(lambda: load.statuses[200] > right + 20)
    # Connections break with the proxy; nobody is answered wrongly.
    assert set(load.statuses) <= {200, 503, 504}
    assert load.wrong == []


def test_a_gateway_without_a_proxy_is_told_of(kubectl: Kubectl, load: Load, ask: Callable[[str], list[Any]]) -> None:
    where = ("--namespace", ENVOY)
    proxy = kubectl(*where, "get", "deployments", f"--selector={SELECTOR}", "--output=name").strip()
    # Envoy Gateway would give the proxy back, and without it a new proxy does not become ready.
    workloads = ("deployment.apps/envoy-gateway", proxy)
    kubectl(*where, "scale", *workloads, "--replicas=0")
    try:
        until(lambda: ask('ALERTS{alertname="GatewayNotReady", alertstate="firing"}'))
    finally:
        kubectl(*where, "scale", *workloads, "--replicas=1")
        for workload in workloads:
            kubectl(*where, "rollout", "status", workload, "--timeout=600s")
    right = load.statuses[200]
    until(lambda: load.statuses[200] > right + 20)
    assert load.wrong == []


def test_a_pod_that_no_node_takes_is_told_of(kubectl: Kubectl, load: Load, ask: Callable[[str], list[Any]]) -> None:
    where = ("--namespace", "healthrisk", "patch", "statefulset/alertmanager", "--patch")

    def shall_run_on(node: str | None) -> None:
        selector = {"nodeSelector": {"kubernetes.io/hostname": node}}
        kubectl(*where, json.dumps({"spec": {"template": {"spec": selector}}}))

    shall_run_on("there-is-none")
    try:
        until(lambda: ask('ALERTS{alertname="WorkloadNotReady", workload="statefulset/alertmanager"}'))
    finally:
        shall_run_on(None)
        # Kubernetes leaves a pod alone that waits by the template before.
        kill(kubectl, "statefulset/alertmanager")
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])


def test_no_outcome_is_lost_or_counts_twice(
    served: tuple[Bundle, Deployed], kubectl: Kubectl, load: Load, forward: Callable[..., str]
) -> None:
    until(lambda: len(load.receipts) >= 300)
    load.stop()
    address = database(kubectl, forward)
    url = f"http://{forward('outcomes', 80)}/v1/outcomes"
    value = served[0].spec.target.classes[0].raw[-1]
    before = counted(address, NAME)
    killers = [
        threading.Thread(target=kill, args=(kubectl, workload))
        for workload in ("deployment/outcomes", "statefulset/postgres")
    ]
    for place, receipt in enumerate(load.receipts):
        if place % 100 == 50 and killers:
            killers.pop().start()
        until(lambda receipt=receipt: returned(url, receipt, value))
    assert counted(address, NAME) - before == len(load.receipts)
