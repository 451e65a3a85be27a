"""The way in: Envoy Gateway's TLS and HTTP/2, a route to each served model, keys and a rate limit as in production."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import rollout
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.deployment.rollout_plan import Plan
from healthrisk.registry import versions
from tests.support import golden_grpc
from tests.support.patience import ANSWER, run, until

NAME, HOST = "readmission", "healthrisk.localhost"
PRODUCTION = Path(__file__).parents[2] / "manifests" / "overlays" / "production"
BESIDE = """
from pathlib import Path
from healthrisk.bundle import store
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Deployed
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
version = {version!r}
urls = {{"champion": "http://readmission-transformer.healthrisk"}}
urls["challenger"] = "http://readmission-challenger-transformer.healthrisk"
deploy.challenger(KubernetesCluster(), store.fetch(version.bundle, version.digest, Path("/tmp/cache")), version, urls)
"""
Kubectl = Callable[..., str]
Ask = Callable[..., tuple[int, str]]


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
        listed = ("--namespace", "healthrisk", "get", kind, name, "--ignore-not-found")
        until(lambda listed=listed: not kubectl(*listed), lambda kind=kind: kind)
    assert ask(f"/v2/models/{other}")[0] == 404
    assert ask(f"/v2/models/{NAME}")[0] == 200


@pytest.fixture
def beside(
    served: tuple[Bundle, Deployed],
    register: Callable[[int], tuple[Bundle, Deployed]],
    cluster: Cluster,
    in_cluster: Callable[..., tuple[str, str]],
) -> Iterator[tuple[Bundle, Deployed]]:
    """Another version, served beside the champion."""
    challenger = register(2)
    versions.make_champion(NAME, served[1].number)
    phase, printed = in_cluster("e2e-beside", BESIDE.format(version=challenger[1]))
    assert phase == "Succeeded", printed
    yield challenger
    cluster.open_route(NAME)
    cluster.delete(f"{NAME}-challenger")


def test_a_rollout_shares_requests_and_takes_them_back(
    served: tuple[Bundle, Deployed],
    beside: tuple[Bundle, Deployed],
    cluster: Cluster,
    gateway: str,
    trusted: Path,
) -> None:
    port = gateway.rpartition(":")[2]
    url = f"https://{HOST}:{port}/v2/models/{NAME}"
    curl = ["curl", "--silent", "--fail", "--cacert", trusted, "--resolve", f"{HOST}:{port}:127.0.0.1", url]

    def answering(requests: int = 40) -> set[str]:
        return {json.loads(run(curl).stdout)["versions"][0] for _ in range(requests)}

    one, other = served[0].version, beside[0].version
    until(lambda: answering(1) == {one})
    rollout.start(cluster, NAME, beside[1].number, Plan(hold_seconds=0, weights=(50, 100)))
    cluster.wait_routed(NAME, ANSWER)
    until(lambda: answering() == {one, other})
    rollout.step(cluster, NAME, lambda *_: ())
    cluster.wait_routed(NAME, ANSWER)
    until(lambda: answering() == {other})
    rollout.abort(cluster, NAME)
    cluster.wait_routed(NAME, ANSWER)
    until(lambda: answering() == {one})
    assert cluster.rollout(NAME).phase == "returned"


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
