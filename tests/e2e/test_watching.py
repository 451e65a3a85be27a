"""The platform watches what it serves: series, drift, replicas and alerts."""

import base64
import concurrent.futures
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, Deployed
from tests.support.patience import ANSWER

NAME = "readmission"
# One caller with big requests, from within: a port-forward would be what is measured.
LOAD = """
import time
from pathlib import Path
import numpy as np
from healthrisk.bundle import store
from healthrisk.inference.scorer import golden_matrix
from healthrisk.serving.client import ServedModel
bundle = store.fetch({bundle!r}, None, Path("/tmp/cache"))
rows = np.repeat(golden_matrix(bundle.spec, bundle.golden.rows), 200, axis=0)
model = ServedModel("http://readmission-transformer.healthrisk", bundle.spec)
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    model.probabilities(rows)
model.close()
"""


@pytest.fixture(scope="module")
def broken(served: tuple[Bundle, Deployed], cluster: Cluster) -> Iterator[str]:
    """A service whose bundle is not the one it was told to serve: its pods never come up."""
    name = f"{NAME}-broken"
    cluster.apply(name, Deployed("0", served[1].bundle, "0" * 64), None)
    yield name
    cluster.delete(name)


def _until(seconds: float, what: Callable[[], Any]) -> Any:
    end = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < end:
        time.sleep(3)
    return answer


def test_prometheus_has_our_series(
    served: tuple[Bundle, Deployed], forward: Callable[[str, int], str], ask: Callable[[str], list[Any]]
) -> None:
    bundle, version = served
    deploy.replay(bundle, f"http://{forward(f'{NAME}-transformer', 80)}", bundle.spec)
    asked = f'prediction_requests_total{{model="{NAME}",code="200",component="transformer"}} > 0'
    assert _until(300, lambda: ask(asked))
    for component in ("transformer", "predictor", "explainer"):
        up = f'up{{job="model-servers",service="{NAME}",component="{component}",ready="true"}} == 1'
        assert _until(300, lambda up=up: ask(up)), component
    # Pods of another version that have just gone are remembered for a while.
    assert _until(300, lambda: ask(f'healthrisk_model_info{{model="{NAME}",digest="{version.digest}"}} == 1'))
    memory = _until(300, lambda: ask('container_memory_working_set_bytes{pod=~"readmission-.+"}'))
    assert memory, "the kubelet's own figures are read, too"


def test_the_drift_job_exports_gauges(
    served: tuple[Bundle, Deployed],
    kubectl: Callable[..., str],
    forward: Callable[[str, int], str],
    ask: Callable[[str], list[Any]],
) -> None:
    bundle, url = served[0], f"http://{forward(f'{NAME}-transformer', 80)}"

    def counted() -> list[Any]:
        # What a server counted before Prometheus first came by is no increase, so it is asked again.
        deploy.replay(bundle, url, bundle.spec)
        return ask(f'sum(increase(predictions_by_class_total{{version="{bundle.version}"}}[5m])) > 0')

    assert _until(300, counted)
    where = ("--namespace", "healthrisk")
    kubectl(*where, "delete", "job", "e2e-drift", "--ignore-not-found")
    kubectl(*where, "create", "job", "e2e-drift", "--from=cronjob/drift")
    kubectl(*where, "wait", "--for=condition=complete", "--timeout=900s", "job/e2e-drift")
    assert f'"{NAME}": ' in kubectl(*where, "logs", "job/e2e-drift")
    gauges = _until(300, lambda: ask(f'healthrisk_drift_distance{{model="{NAME}"}}'))
    assert {one.metric["feature"] for one in gauges} >= set(bundle.spec.features)
    kubectl(*where, "delete", "job", "e2e-drift")


def test_grafana_has_the_dashboard_and_numbers_for_each_panel(
    served: tuple[Bundle, Deployed], kubectl: Callable[..., str], forward: Callable[[str, int], str]
) -> None:
    where = ("--namespace", "healthrisk", "get")
    if not kubectl(*where, "deployment", "grafana", "--ignore-not-found"):
        pytest.skip("the cluster has no Grafana: make kind-up without PROFILE=small")
    password = base64.b64decode(kubectl(*where, "secret", "grafana", "--output=jsonpath={.data.password}")).decode()
    bundle, url = served[0], f"http://{forward(f'{NAME}-transformer', 80)}"
    with httpx.Client(
        base_url=f"http://{forward('grafana', 3000)}", auth=("admin", password), timeout=ANSWER
    ) as grafana:

        def numbers(expression: str) -> Any:
            deploy.replay(bundle, url, bundle.spec)
            httpx.post(f"{url}/v1/models/{NAME}:predict", json={"instances": [[1]]}, timeout=ANSWER)
            query = expression.replace("$model", NAME).replace("$__rate_interval", "5m")
            answer = grafana.get("/api/datasources/proxy/uid/prometheus/api/v1/query", params={"query": query})
            return answer.raise_for_status().json()["data"]["result"]

        board = grafana.get("/api/dashboards/uid/healthrisk-serving").raise_for_status().json()["dashboard"]
        asked = [
            (panel["title"], target["expr"])
            for panel in board["panels"]
            for target in panel["targets"]
            # A cluster that has just come up has no week to compare the hour with.
            if panel["datasource"]["uid"] == "prometheus" and panel["title"] != "Drift by feature"
        ]
        assert len(asked) >= 8
        for title, expression in asked:
            assert _until(300, lambda expression=expression: numbers(expression)), title


# The alert's five minutes pass in the meantime.
@pytest.mark.usefixtures("broken")
def test_load_makes_more_replicas_and_rest_fewer(
    served: tuple[Bundle, Deployed], kubectl: Callable[..., str], in_cluster: Any
) -> None:
    if not kubectl("get", "apiservices", "v1beta1.metrics.k8s.io", "--ignore-not-found"):
        pytest.skip("the cluster has no metrics server: make kind-up, or make platform")

    def replicas(component: str) -> int:
        where = ("--namespace", "healthrisk", "get", "hpa", f"{NAME}-{component}")
        return int(kubectl(*where, "--output", "jsonpath={.status.desiredReplicas}") or 0)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        load = pool.submit(in_cluster, "e2e-load", LOAD.format(bundle=served[1].bundle, seconds=100))
        assert _until(400, lambda: max(replicas("transformer"), replicas("predictor")) > 1)
        phase, printed = load.result()
        assert phase == "Succeeded", printed
    # Kubernetes waits five minutes before it believes that the load has gone.
    assert _until(500, lambda: replicas("transformer") == replicas("predictor") == 1)


def test_an_alert_fires_when_it_should(broken: str, ask: Callable[[str], list[Any]]) -> None:
    firing = 'ALERTS{{alertname="PodNotReady",alertstate="firing",model="{}"}}'
    assert _until(420, lambda: ask(firing.format(broken)))
    assert ask(firing.format(NAME)) == []
