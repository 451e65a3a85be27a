"""Who may do what on a cluster: groups of the staff at its API server, and people with tokens at the gateway."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.deployment.cluster import Deployed
from healthrisk.inference.scorer import golden_matrix
from tests.support import http
from tests.support.gateway import HOST, SELECTOR, connect
from tests.support.issuer import Clients, Issuer, issuing
from tests.support.manifest_rules import ROOT, Document, build
from tests.support.patience import until

NAME, AUDIENCE = "readmission", "healthrisk"
NAMESPACE = ("--namespace", "healthrisk")
ROLES = ("caller", "viewer", "trainer", "promoter")
CLIENTS: Clients = {
    **{role: {"audience": AUDIENCE, "roles": [role], "seconds": 3600} for role in (*ROLES, "nobody")},
    "late": {"audience": AUDIENCE, "roles": list(ROLES), "seconds": -120},
    "other-audience": {"audience": "payroll", "roles": list(ROLES), "seconds": 3600},
}
MLFLOW = "/api/2.0/mlflow"
KEYS = """
apiVersion: v1
kind: Namespace
metadata: {{name: e2e-issuer}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: keys, namespace: e2e-issuer}}
data: {{jwks: {keys}}}
---
apiVersion: v1
kind: Service
metadata: {{name: keys, namespace: e2e-issuer}}
spec: {{selector: {{app: keys}}, ports: [{{port: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: keys, namespace: e2e-issuer, labels: {{app: keys}}}}
spec:
  securityContext: {{runAsUser: 65532, runAsNonRoot: true}}
  containers:
    - name: main
      image: {image}
      command: [python, -m, http.server, "8080", --directory=/keys]
      volumeMounts: [{{name: keys, mountPath: /keys}}]
  volumes: [{{name: keys, configMap: {{name: keys}}}}]
"""
Kubectl = Callable[..., str]
Ask = Callable[..., tuple[int, Any]]


@pytest.mark.parametrize(
    ("verb", "what", "namespace", "groups"),
    [
        ("get", "inferenceservices.serving.kserve.io", "healthrisk", {"viewers", "trainers", "promoters"}),
        ("list", "pods", "healthrisk", {"viewers", "trainers", "promoters"}),
        ("patch", "inferenceservices.serving.kserve.io", "healthrisk", {"promoters"}),
        ("delete", "httproutes.gateway.networking.k8s.io", "healthrisk", {"promoters"}),
        ("create", "services/ml-pipeline:http --subresource=proxy", "kubeflow", {"trainers"}),
        ("create", "services/minio-service --subresource=proxy", "kubeflow", set()),
        ("get", "secrets", "healthrisk", set()),
        ("get", "configmaps", "healthrisk", set()),
        ("get", "pods --subresource=log", "healthrisk", set()),
        ("create", "pods --subresource=exec", "healthrisk", set()),
        ("delete", "statefulsets.apps", "healthrisk", set()),
    ],
)
def test_each_group_may_its_own(verb: str, what: str, namespace: str, groups: set[str], kubectl: Kubectl) -> None:
    words = ("auth", "can-i", verb, *what.split(), "--namespace", namespace, "--as=somebody")
    for group in ("viewers", "trainers", "promoters"):
        # It ends with 1 where it says no.
        said = kubectl(*words, f"--as-group=healthrisk:{group}", check=False).strip()
        assert said == ("yes" if group in groups else "no"), group


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing(CLIENTS) as own:
        yield own


@pytest.fixture(scope="module")
def keys(kubectl: Kubectl, issuer: Issuer) -> Iterator[str]:
    """An address in the cluster of the issuer's public keys: its own is on this machine."""
    keys = json.dumps(http.get(issuer.jwks).text)
    kubectl("apply", "--filename=-", stdin=KEYS.format(keys=keys, image=image(kubectl)))
    try:
        kubectl("--namespace", "e2e-issuer", "wait", "--for=condition=ready", "pod/keys", "--timeout=300s")
        yield "http://keys.e2e-issuer.svc.cluster.local:8080/jwks"
    finally:
        kubectl("delete", "namespace", "e2e-issuer")


def image(kubectl: Kubectl) -> str:
    return kubectl(*NAMESPACE, "get", "deployment", "mlflow", "--output=jsonpath={..containers[0].image}")


@pytest.fixture(scope="module")
def door(
    kubectl: Kubectl,
    forward: Callable[..., str],
    gateway: str,
    issuer: Issuer,
    keys: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The listener for people, as an overlay brings it that names the component; afterwards it is gone again."""
    told = {"issuer": issuer.url, "jwks": keys, "audience": AUDIENCE, "host": HOST, "mlflow-host": HOST}
    before, after = overlay(tmp_path_factory.mktemp("without"), {}), overlay(tmp_path_factory.mktemp("with"), told)
    changed = [one for one in after if one not in before]
    known = {key(one): one for one in before}
    for one in (*changed, *before):
        if key(one) == ("Deployment", "mlflow"):
            one["spec"]["template"]["spec"]["containers"][0]["image"] = image(kubectl)
    apply(kubectl, changed)
    envoy = ("--namespace", "envoy-gateway-system", "get", "services", f"--selector={SELECTOR}", "--output=name")
    try:
        kubectl(*NAMESPACE, "rollout", "status", "deployment/mlflow", "--timeout=300s")
        yield forward(kubectl(*envoy).strip().removeprefix("service/"), 8443, "envoy-gateway-system")
    finally:
        apply(kubectl, [known[key(one)] for one in changed if key(one) in known])
        for one in changed:
            if key(one) not in known:
                kubectl(*NAMESPACE, "delete", one["kind"], one["metadata"]["name"], "--ignore-not-found")
        kubectl(*NAMESPACE, "rollout", "status", "deployment/mlflow", "--timeout=300s")


def overlay(folder: Path, told: dict[str, str]) -> list[Document]:
    """Return what the overlay of kind applies, with the component where it is told of an issuer."""
    for part in ("manifests", "kserve"):
        shutil.copytree(ROOT / part, folder / part)
    if told:
        values = folder / "manifests" / "tokens" / "tokens.env"
        lines = dict(line.split("=", 1) for line in values.read_text().splitlines())
        values.write_text("".join(f"{name}={value}\n" for name, value in {**lines, **told}.items()))
    path = folder / "manifests" / "overlays" / "kind" / "kustomization.yaml"
    asked = yaml.safe_load(path.read_text())
    asked["components"] = [*(["../../tokens"] if told else []), *asked["components"]]
    path.write_text(yaml.safe_dump(asked))
    return build(["kubectl", "kustomize"], path.parent)


def key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def apply(kubectl: Kubectl, documents: list[Document]) -> None:
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))


@pytest.fixture(scope="module")
def ask(door: str, trusted: Path, served: tuple[Bundle, Deployed]) -> Ask:
    """Ask at the listener for people: status and answer."""

    def connected() -> HTTPConnection | None:
        connection = connect(door, trusted)
        # The way there ends with a connection that somebody breaks off, and is there again.
        with suppress(OSError):
            connection.connect()
            return connection
        return None

    def answer(method: str, path: str, token: str | None, body: Any = None) -> tuple[int, Any]:
        headers = {"host": HOST, "content-type": "application/json"}
        headers |= {} if token is None else {"authorization": f"Bearer {token}"}
        connection = until(connected)
        assert connection is not None
        with closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answered = connection.getresponse()
            text = answered.read().decode()
        return answered.status, json.loads(text) if text.startswith("{") else text

    return answer


def test_a_prediction_is_for_callers(ask: Ask, issuer: Issuer, served: tuple[Bundle, Deployed]) -> None:
    bundle = served[0]
    row = encoding.decode(bundle.spec, golden_matrix(bundle.spec, bundle.golden.rows))[0]
    asked = ("POST", f"/v1/models/{NAME}:predict")
    until(lambda: ask(*asked, issuer.token("caller"), {"instances": [row]})[0] == 200)
    status, answer = ask(*asked, issuer.token("caller"), {"instances": [row]})
    assert status == 200
    np.testing.assert_allclose(answer["predictions"][0]["probability"], bundle.golden.probability[0][1], atol=1e-6)
    for role in (*ROLES[1:], "nobody"):
        assert ask(*asked, issuer.token(role), {"instances": [row]})[0] == 403, role
    for role in ROLES:
        assert ask("GET", f"/v2/models/{NAME}", issuer.token(role))[0] == 200, role


def test_no_token_but_the_issuer_s_own_lets_anybody_in(ask: Ask, issuer: Issuer) -> None:
    asked = ("GET", f"/v2/models/{NAME}")
    until(lambda: ask(*asked, issuer.token("viewer"))[0] == 200)
    with issuing(CLIENTS) as other:
        tokens = {"none": None, "expired": issuer.token("late"), "another issuer": other.token("viewer")}
        answers = {name: ask(*asked, token) for name, token in tokens.items()}
    assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(tokens, 401), answers
    assert ask(*asked, issuer.token("other-audience"))[0] == 403


def test_mlflow_is_looked_at_by_the_staff_and_written_by_roles(
    ask: Ask, issuer: Issuer, served: tuple[Bundle, Deployed]
) -> None:
    looks = ("GET", f"{MLFLOW}/registered-models/get?name={NAME}")
    until(lambda: ask(*looks, issuer.token("viewer"))[0] == 200)
    writes = {
        "trainer": (f"{MLFLOW}/experiments/create", {"name": f"e2e-{uuid.uuid4()}"}),
        "promoter": (f"{MLFLOW}/registered-models/alias", {"name": NAME, "alias": "e2e", "version": served[1].number}),
    }
    for role in ROLES:
        token = issuer.token(role)
        assert ask(*looks, token)[0] == (403 if role == "caller" else 200), role
        for writer, (path, body) in writes.items():
            status, said = ask("POST", path, token, body)
            assert status == (200 if role == writer else 403), (role, writer, said)
    _, found = ask(*looks, issuer.token("viewer"))
    assert {"alias": "e2e", "version": served[1].number} in found["registered_model"]["aliases"]
    _, alias = writes["promoter"]
    assert ask("DELETE", f"{MLFLOW}/registered-models/alias", issuer.token("promoter"), alias)[0] == 200
