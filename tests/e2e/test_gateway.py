"""The way in: Envoy Gateway's TLS and HTTP/2, a route to each served model, keys and a rate limit as in production."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Cluster, Deployed
from tests.support.patience import run, until

NAME, HOST = "readmission", "healthrisk.localhost"
PRODUCTION = Path(__file__).parents[2] / "manifests" / "overlays" / "production"
SELECTOR = "gateway.envoyproxy.io/owning-gateway-name=healthrisk"
Kubectl = Callable[..., str]
Ask = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def gateway(kubectl: Kubectl, forward: Callable[..., str]) -> str:
    """Where the gateway's Envoy is reached from here: HOST:PORT."""
    if not kubectl("get", "crd", "gateways.gateway.networking.k8s.io", "--ignore-not-found"):
        pytest.skip("the cluster has no gateway: make kind-up without PROFILE=small")
    where = ("--namespace", "envoy-gateway-system", "get", "services", f"--selector={SELECTOR}", "--output=name")
    return forward(kubectl(*where).strip().removeprefix("service/"), 443, "envoy-gateway-system")


@pytest.fixture(scope="module")
def ask(kubectl: Kubectl, gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask for a path as kind/status tells to, trusting the gateway's own certificate alone: status and HTTP version."""
    where = ("--namespace", "healthrisk", "get", "secret", "gateway-tls", "--output")
    trusted = tmp_path_factory.mktemp("tls") / "gateway.crt"
    trusted.write_bytes(base64.b64decode(kubectl(*where, r"jsonpath={.data.tls\.crt}")))
    port = gateway.rpartition(":")[2]
    command = [
        "curl",
        "--silent",
        "--cacert",
        trusted,
        "--resolve",
        f"{HOST}:{port}:127.0.0.1",
        "--output",
        "/dev/null",
    ]
    command += ["--write-out", "%{http_code} %{http_version}"]

    def answer(path: str, *words: str) -> tuple[int, str]:
        status, version = run([*command, *words, f"https://{HOST}:{port}{path}"]).stdout.split()
        return int(status), version

    return answer


@pytest.fixture
def site(kubectl: Kubectl) -> Iterator[Callable[[str, str], None]]:
    """Apply a policy of the production overlay, changed, and take it away afterwards."""
    applied = []

    def apply(name: str, text: str) -> None:
        kubectl("apply", "--filename=-", stdin=text)
        applied.append(name)

    yield apply
    for name in applied:
        kubectl("delete", "--filename", str(PRODUCTION / name), "--ignore-not-found")


def test_a_served_model_is_let_in_over_tls_and_http2(served: tuple[Bundle, Deployed], ask: Ask) -> None:
    until(lambda: ask(f"/v2/models/{NAME}")[0] == 200)
    assert ask(f"/v2/models/{NAME}/ready", "--http2") == (200, "2")
    assert ask(f"/v2/models/{NAME}/ready", "--http1.1") == (200, "1.1")
    assert ask("/v2/models/none")[0] == 404
    assert ask("/metrics")[0] == 404, "what no route names stays inside"


def test_a_model_that_is_removed_has_no_way_in(
    served: tuple[Bundle, Deployed], cluster: Cluster, kubectl: Kubectl, ask: Ask
) -> None:
    other = "readmission-gone"
    cluster.apply(other, served[1], None)
    cluster.open_route(other)
    until(lambda: ask(f"/v2/models/{other}")[0] != 404)
    cluster.delete(other)
    until(lambda: ask(f"/v2/models/{other}")[0] == 404)
    assert kubectl("--namespace", "healthrisk", "get", "httproute", other, "--ignore-not-found") == ""


def test_a_key_is_asked_for(
    served: tuple[Bundle, Deployed],
    site: Callable[[str, str], None],
    kubectl: Kubectl,
    ask: Ask,
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "api-keys", "namespace": "healthrisk"}}
    kubectl("apply", "--filename=-", stdin=json.dumps({**secret, "stringData": {"clinic": "a-key-of-a-test"}}))
    site("api-keys.yaml", (PRODUCTION / "api-keys.yaml").read_text())
    until(lambda: ask(f"/v2/models/{NAME}")[0] == 401)
    assert ask(f"/v2/models/{NAME}", "--header", "x-api-key: another")[0] == 401
    assert ask(f"/v2/models/{NAME}", "--header", "x-api-key: a-key-of-a-test")[0] == 200


def test_who_asks_too_often_is_told_so(
    served: tuple[Bundle, Deployed], site: Callable[[str, str], None], ask: Ask
) -> None:
    few = (PRODUCTION / "rate-limit.yaml").read_text().replace("requests: 200", "requests: 5").replace("Second", "Hour")
    site("rate-limit.yaml", few)
    until(lambda: ask(f"/v2/models/{NAME}")[0] == 429)
