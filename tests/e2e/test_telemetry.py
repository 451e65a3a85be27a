"""What servers log and trace is found in the cluster's stores by its ids, and nobody waits for these."""

import json
import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Deployed
from tests.support import http
from tests.support.cluster_faults import away
from tests.support.gateway import HOST, connect
from tests.support.gateway_load import Load
from tests.support.patience import until
from tests.support.victoria_logs import lines

NAME = "readmission"
STORES = ("deployment/collector", "deployment/victoria-logs", "deployment/jaeger")
# No value that the spec allows, so that the line of its refusal would be the place to find it.
NO_VALUE = 987654.321


@pytest.fixture(scope="module", autouse=True)
def _has_stores(kubectl: Callable[..., str]) -> None:
    if not kubectl("--namespace", "healthrisk", "get", *STORES, "--ignore-not-found", "--output=name"):
        pytest.skip("the cluster keeps no lines and traces: make kind-up without PROFILE=small")


def test_a_request_is_found_by_its_trace(
    served: tuple[Bundle, Deployed], gateway: str, trusted: Path, forward: Callable[..., str]
) -> None:
    bundle, trace = served[0], secrets.token_hex(16)
    headers = {"host": HOST, "content-type": "application/json"}
    headers["traceparent"] = f"00-{trace}-{secrets.token_hex(8)}-01"
    with closing(connect(gateway, trusted)) as connection:
        for row, status in ((bundle.golden.rows[0], 200), ([NO_VALUE] * len(bundle.spec.features), 400)):
            connection.request("POST", f"/v1/models/{NAME}:predict", json.dumps({"instances": [row]}), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    logs, traces = f"http://{forward('victoria-logs', 9428)}", f"http://{forward('jaeger', 16686)}"
    (line,) = until(lambda: lines(logs, f'trace_id:"{trace}"'))
    assert line["service.name"] == f"{NAME}-transformer"

    def services() -> set[str]:
        answer = http.get(f"{traces}/api/traces/{trace}")
        found = answer.json()["data"] if answer.status_code == 200 else []
        return {process["serviceName"] for one in found for process in one["processes"].values()}

    until(lambda: {f"{NAME}-transformer", f"{NAME}-predictor"} <= services())
    shown = str(line) + http.get(f"{traces}/api/traces/{trace}").text
    assert str(int(NO_VALUE)) not in shown


def test_predictions_go_on_without_the_stores(kubectl: Callable[..., str], load: Load) -> None:
    with ExitStack() as stack:
        for store in STORES:
            stack.enter_context(away(kubectl, "healthrisk", store))
        asked = load.statuses.total()
        until(lambda: load.statuses.total() > asked + 100)
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])
