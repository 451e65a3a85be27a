"""Who calls with a token: the component's policies in a real Envoy, with the tokens of a real issuer."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from healthrisk.deployment.kubernetes_cluster import in_likeness
from healthrisk.serving.headers import CALLER
from tests.support import http
from tests.support.envoy import TEMPLATE, Envoy, envoy, ranked
from tests.support.issuer import KEY_ID, Issuer, issuing
from tests.support.listening import Handler, listening
from tests.support.manifest_rules import ROOT, Document, build
from tests.support.patience import until
from tests.support.security_policy import filters, protected

pytestmark = pytest.mark.slow

AUDIENCE = "healthrisk"
ROLES = ("caller", "viewer", "trainer", "promoter")
CLIENTS = {
    **{role: {"audience": AUDIENCE, "roles": ["staff", role], "seconds": 600} for role in ROLES},
    "nobody": {"audience": AUDIENCE, "roles": [], "seconds": 600},
    "late": {"audience": AUDIENCE, "roles": list(ROLES), "seconds": -120},
    "other-audience": {"audience": "payroll", "roles": list(ROLES), "seconds": 600},
}
MODEL = "/v2/models/heart-disease"
ALIAS = "mlflow/registered-models/alias"


class _Backend(Handler):
    """Says who came in."""

    def respond(self) -> None:
        self.answer(body=json.dumps({"caller": self.headers.get(CALLER.decode())}).encode())


@pytest.fixture(scope="module")
def issuers() -> Iterator[tuple[Issuer, Issuer]]:
    """The site's, and another that knows the same clients."""
    with issuing(CLIENTS) as own, issuing(CLIENTS) as other:
        yield own, other


@pytest.fixture(scope="module")
def documents(
    kustomize: list[str], issuers: tuple[Issuer, Issuer], tmp_path_factory: pytest.TempPathFactory
) -> list[Document]:
    """The production overlay with the component, told of the issuer as a site tells it."""
    folder = tmp_path_factory.mktemp("tokens")
    for part in ("manifests", "kserve"):
        shutil.copytree(ROOT / part, folder / part)
    told = {"issuer": issuers[0].url, "jwks": issuers[0].jwks, "audience": AUDIENCE}
    values = folder / "manifests" / "tokens" / "tokens.env"
    lines = dict(line.split("=", 1) for line in values.read_text().splitlines())
    values.write_text("".join(f"{key}={value}\n" for key, value in {**lines, **told}.items()))
    overlay = folder / "manifests" / "overlays" / "production"
    asked = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    asked["components"] = ["../../tokens", *asked["components"]]
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(asked))
    return build(kustomize, overlay)


def by_name(documents: list[Document], kind: str) -> dict[str, Document]:
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}


@pytest.fixture(scope="module")
def door(
    documents: list[Document], issuers: tuple[Issuer, Issuer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Envoy]:
    """The gateway's listener `tokens`: a route's own policy stands in place of the listener's."""
    policies = {name: one for name, one in by_name(documents, "SecurityPolicy").items() if "jwt" in one["spec"]}
    (model,) = in_likeness(TEMPLATE.read_text(), "heart-disease", "healthrisk")
    all_routes = [*by_name(documents, "HTTPRoute").values(), model]
    made = [
        (rank, protected(entry, policies.get(route["metadata"]["name"], policies["tokens"])))
        for route in all_routes
        for rank, entry in ranked(route)
    ]
    names = {one["name"] for route in all_routes for rule in route["spec"]["rules"] for one in rule["backendRefs"]}
    with ExitStack() as stack:
        backend = stack.enter_context(listening(_Backend))
        leads = {**dict.fromkeys(sorted(names), backend), "issuer": issuers[0].url}
        folder = tmp_path_factory.mktemp("envoy")
        proxy = stack.enter_context(envoy(folder, leads, filters(list(policies.values()), "issuer")))
        proxy.serve([entry for _, entry in sorted(made, key=lambda pair: pair[0])])
        until(lambda: proxy.knows("routes"))
        yield proxy


def ask(door: Envoy, method: str, path: str, token: str | None) -> httpx.Response:
    # What a caller says of itself is no proof: in front of this the gateway takes it away.
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with http.client() as client:
        return client.request(method, f"{door.url}{path}", headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{MODEL}/infer", {"caller"}),
        ("POST", f"{MODEL}/explain", {"caller"}),
        ("POST", "/v1/outcomes", {"caller"}),
        ("GET", MODEL, {*ROLES}),
        ("GET", "/", {"viewer", "trainer", "promoter"}),
        ("GET", f"/ajax-api/2.0/{ALIAS}?name=a", {"viewer", "trainer", "promoter"}),
        ("POST", "/ajax-api/2.0/mlflow/runs/search", {"viewer", "trainer", "promoter"}),
        ("POST", "/api/2.0/mlflow/runs/create", {"trainer"}),
        ("POST", "/api/2.0/mlflow/runs/delete", {"trainer"}),
        ("POST", f"/api/2.0/{ALIAS}", {"promoter"}),
        ("DELETE", f"/ajax-api/2.0/{ALIAS}", {"promoter"}),
        ("POST", "/api/2.0/mlflow/model-versions/transition-stage", {"promoter"}),
    ],
)
def test_each_role_may_do_its_own(
    method: str, path: str, allowed: set[str], door: Envoy, issuers: tuple[Issuer, Issuer]
) -> None:
    for role in (*ROLES, "nobody"):
        answer = ask(door, method, path, issuers[0].token(role))
        assert answer.status_code == (200 if role in allowed else 403), role
        if role in allowed:
            # The record of use has the name that the issuer gave.
            assert answer.json() == {"caller": role}


def forged(header: Document, claims: Document) -> str:
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
        + "."
    )


def test_no_token_but_the_issuer_s_own_lets_anybody_in(door: Envoy, issuers: tuple[Issuer, Issuer]) -> None:
    own, other = issuers
    another = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    good = own.token("caller")
    claims = jwt.decode(good, options={"verify_signature": False})
    head, _, signature = good.split(".")
    more = base64.urlsafe_b64encode(json.dumps({**claims, "roles": ["promoter"]}).encode()).decode().rstrip("=")
    tokens = {
        "none": (None, "Jwt is missing"),
        "not a token": ("abc", "Jwt is not in the form"),
        "expired": (own.token("late"), "Jwt is expired"),
        "another issuer": (other.token("caller"), "Jwt issuer is not configured"),
        "another audience": (own.token("other-audience"), "Audiences in Jwt are not allowed"),
        "no algorithm": (forged({"alg": "none", "kid": KEY_ID}, claims), "Jwt is not in the form"),
        "no algorithm, and a signature": (forged({"alg": "none"}, claims) + signature, "Jwt header [alg]"),
        "another algorithm": (jwt.encode(claims, "x" * 32, "HS256", {"kid": KEY_ID}), "Jwt"),
        "unknown key": (jwt.encode(claims, "x" * 32, "HS256", {"kid": "second"}), "Jwt"),
        "another's signature": (jwt.encode(claims, another, "RS256", {"kid": KEY_ID}), "Jwt verification fails"),
        "other roles under the signature": (f"{head}.{more}.{signature}", "Jwt verification fails"),
    }
    for name, (token, said) in tokens.items():
        answer = ask(door, "POST", f"{MODEL}/infer", token)
        # Envoy knows who it is, and for whom the token was not made.
        assert answer.status_code == (403 if name == "another audience" else 401), name
        assert said in answer.text, (name, answer.text)
    assert ask(door, "POST", f"{MODEL}/infer", good).status_code == 200
    assert ask(door, "POST", f"{MODEL}/infer?access_token={good}", None).status_code == 401


def test_the_listener_is_beside_the_one_with_api_keys(documents: list[Document]) -> None:
    (gateway,) = by_name(documents, "Gateway").values()
    assert [(one["name"], one["port"], one["tls"]["mode"]) for one in gateway["spec"]["listeners"]] == [
        ("https", 443, "Terminate"),
        ("tokens", 8443, "Terminate"),
    ]
    policies = by_name(documents, "SecurityPolicy")
    assert "apiKeyAuth" in policies["api-keys"]["spec"]
    assert policies["tokens"]["spec"]["targetRefs"][0]["sectionName"] == "tokens"
    routes = by_name(documents, "HTTPRoute")
    for name in ("mlflow-look", "mlflow-train", "mlflow-promote"):
        # None is to be reached with an API key, and none without a policy.
        assert routes[name]["spec"]["parentRefs"] == [{"name": "healthrisk", "sectionName": "tokens"}]
        assert policies[name]["spec"]["targetRefs"][0]["name"] == name
    for policy in policies.values():
        authorization = policy["spec"].get("authorization")
        assert authorization is None or authorization["defaultAction"] == "Deny"


def test_mlflow_answers_to_the_gateway_s_name_and_lets_it_in(documents: list[Document]) -> None:
    args = by_name(documents, "Deployment")["mlflow"]["spec"]["template"]["spec"]["containers"][0]["args"]
    (hosts,) = (one for one in args if one.startswith("--allowed-hosts="))
    assert hosts.endswith(",127.0.0.1:*,healthrisk.hospital.example:8443")
    assert args[-1] == "--cors-allowed-origins=https://healthrisk.hospital.example:8443"
    policy = by_name(documents, "NetworkPolicy")["from-tokens"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "mlflow"}


def test_the_routes_paths_are_mlflow_s(documents: list[Document]) -> None:
    # Heavy: who runs other tests need not wait for MLflow.
    from mlflow.protos import databricks_pb2, model_registry_pb2, service_pb2

    services = (model_registry_pb2.ModelRegistryService, service_pb2.MlflowService)
    methods = [method.GetOptions() for service in services for method in service.DESCRIPTOR.methods]
    known = {
        (f"/{api}/{endpoint.since.major}.0{endpoint.path}", endpoint.method)
        for options in methods
        for endpoint in options.Extensions[databricks_pb2.rpc].endpoints
        for api in ("api", "ajax-api")
    }
    routes = by_name(documents, "HTTPRoute")
    for match in (one for rule in routes["mlflow-look"]["spec"]["rules"] for one in rule["matches"]):
        path, method = match["path"]["value"], match["method"]
        # Its page, and two of its page's own.
        if path in {"/", "/graphql"} or path.endswith("search-datasets"):
            continue
        assert (path, method) in known, path
    # Whatever changes what is registered stands behind the promoters' prefixes.
    prefixes = {one["path"]["value"] for rule in routes["mlflow-promote"]["spec"]["rules"] for one in rule["matches"]}
    for path, method in known:
        registered = any(word in path for word in ("/registered-models/", "/model-versions/"))
        reads = method == "GET" or path.endswith(("search", "get-latest-versions"))
        assert not registered or reads or any(path.startswith(f"{prefix}/") for prefix in prefixes), (path, method)
