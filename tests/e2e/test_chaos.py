"""Every pod of the platform is killed in turn under load: what is served goes on, and nothing that was told is lost."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.deployment.cluster import Deployed
from healthrisk.errors import StoreError
from healthrisk.inference.scorer import golden_matrix
from healthrisk.monitoring.outcome_store import OutcomeStore
from healthrisk.receipts.probability_bins import EVENT
from tests.support import http
from tests.support.gateway import HOST, connect
from tests.support.patience import until

NAME, NAMESPACE = "readmission", "healthrisk"
# Nobody who asks for a prediction asks them.
BEHIND = (
    "statefulset/postgres",
    "statefulset/object-store",
    "statefulset/alertmanager",
    "deployment/mlflow",
    "deployment/outcomes",
    "deployment/prometheus",
    "deployment/push-gateway",
    f"deployment/{NAME}-explainer",
)
Kubectl = Callable[..., str]


class Load(threading.Thread):
    """Asks for the golden rows, one after another through the gateway, until it is stopped."""

    def __init__(self, gateway: str, trusted: Path, bundle: Bundle) -> None:
        super().__init__()
        self._gateway, self._trusted, self._bundle = gateway, trusted, bundle
        self._stop_asked = threading.Event()
        self.statuses: Counter[int] = Counter()
        # Answers that differ from the bundle's own, and connections that broke.
        self.wrong: list[str] = []
        self.broken: list[str] = []
        self.receipts: list[str] = []

    def run(self) -> None:
        rows = encoding.decode(self._bundle.spec, golden_matrix(self._bundle.spec, self._bundle.golden.rows))
        place = 0
        while not self._stop_asked.is_set():
            with closing(connect(self._gateway, self._trusted)) as connection:
                try:
                    while not self._stop_asked.wait(0.02):
                        self._ask(connection, rows[place], self._bundle.golden.probability[place])
                        place = (place + 1) % len(rows)
                except (OSError, HTTPException) as error:
                    self.broken.append(repr(error))

    def _ask(self, connection: Any, row: Any, expected: Any) -> None:
        body = json.dumps({"instances": [row]})
        headers = {"host": HOST, "content-type": "application/json"}
        connection.request("POST", f"/v1/models/{NAME}:predict", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        self.statuses[answer.status] += 1
        if answer.status != 200:
            return
        (prediction,) = json.loads(text)["predictions"]
        if not np.isclose(prediction["probability"], expected[1], atol=1e-6):
            self.wrong.append(text.decode())
        self.receipts.append(prediction["receipt"])

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


@pytest.fixture
def load(served: tuple[Bundle, Deployed], gateway: str, trusted: Path) -> Iterator[Load]:
    """Load on the served model, which is answered already."""
    asking = Load(gateway, trusted, served[0])
    asking.start()
    until(lambda: asking.statuses[200] > 20)
    asking.statuses.clear()
    yield asking
    asking.stop()


def kill(kubectl: Kubectl, workload: str) -> None:
    """Kill a workload's pods without a word, and wait until others are ready."""
    where = ("--namespace", NAMESPACE)
    labels = json.loads(kubectl(*where, "get", workload, "--output=jsonpath={.spec.selector.matchLabels}"))
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listed = (*where, "get", "pods", "--selector", selector)
    before = set(kubectl(*listed, "--output=jsonpath={.items[*].metadata.uid}").split())
    # Not by force: Kubernetes would start the next pod beside the last one, and two databases would write one folder.
    kubectl(*where, "delete", "pods", "--selector", selector, "--grace-period=1")

    def replaced() -> bool:
        pods = json.loads(kubectl(*listed, "--output=json"))["items"]
        ready = [
            condition["status"] == "True"
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready" and pod["metadata"]["uid"] not in before
        ]
        return bool(ready) and all(ready) and len(ready) == len(pods)

    until(replaced, lambda: f"{workload} did not come back")


@pytest.mark.parametrize("workload", BEHIND)
def test_no_prediction_depends_on_what_stands_behind(workload: str, kubectl: Kubectl, load: Load) -> None:
    kill(kubectl, workload)
    asked = load.statuses.total()
    until(lambda: load.statuses.total() > asked + 20)
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])


@pytest.mark.parametrize("component", ["predictor", "transformer"])
def test_a_killed_server_is_back_and_answers_rightly(component: str, kubectl: Kubectl, load: Load) -> None:
    kill(kubectl, f"deployment/{NAME}-{component}")
    right = load.statuses[200]
    until(lambda: load.statuses[200] > right + 20)
    # Who asks meanwhile is told to come again, or is cut off with the one who was answering, and kubectl's forwarded
    # connections with that; nobody is answered wrongly.
    assert set(load.statuses) <= {200, 503, 504}
    assert load.wrong == []


def test_no_outcome_is_lost_or_counts_twice(
    served: tuple[Bundle, Deployed], kubectl: Kubectl, load: Load, forward: Callable[..., str]
) -> None:
    until(lambda: len(load.receipts) >= 300)
    load.stop()
    where = ("--namespace", NAMESPACE, "get", "secret", "postgres", "--output=json")
    password = base64.b64decode(json.loads(kubectl(*where))["data"]["password"]).decode()
    address = f"postgresql+psycopg2://mlflow:{password}@{forward('postgres', 5432)}/mlflow"
    url = f"http://{forward('outcomes', 80)}/v1/outcomes"
    value = served[0].spec.target.classes[0].raw[-1]
    before = counted(address)
    killers = [
        threading.Thread(target=kill, args=(kubectl, workload))
        for workload in ("deployment/outcomes", "statefulset/postgres")
    ]
    for place, receipt in enumerate(load.receipts):
        if place % 100 == 50 and killers:
            killers.pop().start()
        until(lambda receipt=receipt: returned(url, receipt, value))
    assert counted(address) - before == len(load.receipts)


def returned(url: str, receipt: str, value: Any) -> bool:
    """Say whether an outcome was taken: for the first time, or again where the first answer was lost."""
    try:
        answer = http.post(url, json={"outcomes": [{"receipt": receipt, "outcome": value}]})
    except httpx.HTTPError:
        time.sleep(0.2)
        return False
    return answer.status_code == 200


def counted(address: str) -> int:
    """Return how many outcomes of the model's patients the database counts, once it answers."""

    def total() -> int | None:
        try:
            with closing(OutcomeStore(address)) as store:
                counts = store.counts(NAME)
        except StoreError:
            return None
        return sum(count for cell, count in counts.items() if cell.label == EVENT and not cell.grouping)

    found = total()
    while found is None:
        time.sleep(1)
        found = total()
    return found
