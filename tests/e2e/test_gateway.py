"""The way in: Envoy Gateway's TLS and HTTP/2, a route to each served model, keys and a rate limit as in production."""

import base64
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment.cluster import Cluster, Deployed
from tests.support import golden_grpc
from tests.support.patience import ANSWER, run, until

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
def trusted(kubectl: Kubectl, gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway's own certificate."""
    where = ("--namespace", "healthrisk", "get", "secret", "gateway-tls", "--output")
    path = tmp_path_factory.mktemp("tls") / "gateway.crt"
    path.write_bytes(base64.b64decode(kubectl(*where, r"jsonpath={.data.tls\.crt}")))
    return path


@pytest.fixture(scope="module")
def ask(gateway: str, trusted: Path) -> Ask:
    """Ask for a path as kind/status tells to, trusting the gateway's own certificate alone: status and HTTP version."""
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


def test_grpc_goes_to_the_model_that_its_header_names(
    served: tuple[Bundle, Deployed], gateway: str, trusted: Path, ask: Ask
) -> None:
    until(lambda: ask(f"/v2/models/{NAME}")[0] == 200)
    credentials = grpc.ssl_channel_credentials(trusted.read_bytes())
    options = [("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST)]
    with grpc.secure_channel(gateway, credentials, options) as channel:
        answered = golden_grpc.probabilities(channel, served[0], x_model=NAME)
        np.testing.assert_allclose(answered, served[0].golden.probability, atol=1e-6)
        with pytest.raises(grpc.RpcError) as caught:
            golden_grpc.probabilities(channel, served[0])
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_that_never_ends_is_given_up(served: tuple[Bundle, Deployed], gateway: str, trusted: Path) -> None:
    host, _, port = gateway.partition(":")
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection((host, int(port)), timeout=ANSWER) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as sent,
    ):
        sent.sendall(f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert sent.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_model_that_is_removed_has_no_way_in(
    served: tuple[Bundle, Deployed], cluster: Cluster, kubectl: Kubectl, ask: Ask
) -> None:
    other = "readmission-gone"
    cluster.apply(other, served[1], None)
    cluster.open_route(other)
    until(lambda: ask(f"/v2/models/{other}")[0] != 404)
    cluster.delete(other)
    until(lambda: ask(f"/v2/models/{other}")[0] == 404)
    for kind, name in (("httproute", other), ("service", f"{other}-grpc"), ("inferenceservice", other)):
        assert kubectl("--namespace", "healthrisk", "get", kind, name, "--ignore-not-found") == "", kind


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
    assert until(lambda: ask(f"/v2/models/{NAME}")[0] == 429)
