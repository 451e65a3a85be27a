"""Rules of this house that no schema says."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from healthrisk.deployment.kubernetes_cluster import in_likeness
from healthrisk.monitoring.outcome_app import PATH
from healthrisk.serving.servers.arguments import METRICS_PORT
from tests.support.manifest_rules import OVERLAYS, PARTS, containers, pods, script

ROOT = Path(__file__).parents[2]
# The account of the pipeline's pods.
RUNS = "pipeline-runner"
Render = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("part", PARTS)
def test_images_are_pinned(part: str, render: Render) -> None:
    for name, container, _ in containers(render(part)):
        assert re.search(r"@sha256:[0-9a-f]{64}$|^healthrisk/\w+:python3\.11-\d+\.\d+\.\d+$", container["image"]), name


@pytest.mark.parametrize("part", PARTS)
def test_containers_are_restricted(part: str, render: Render) -> None:
    for name, container, pod in containers(render(part)):
        own, shared = container["securityContext"], pod.get("securityContext", {})
        assert own["allowPrivilegeEscalation"] is False, name
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        merged = {**shared, **own}
        assert merged["runAsNonRoot"] is True, name
        assert merged["runAsUser"] > 0, name
        assert merged["seccompProfile"] == {"type": "RuntimeDefault"}, name


@pytest.mark.parametrize("part", PARTS)
def test_containers_have_resources_and_probes(part: str, render: Render) -> None:
    documents = render(part)
    initial = {f"{name}/{one['name']}" for name, pod in pods(documents) for one in pod.get("initContainers", ())}
    for name, container, _ in containers(documents):
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}, name
        if name not in initial and not name.startswith("CronJob/"):
            assert {"readinessProbe", "livenessProbe"} <= set(container), name


@pytest.mark.parametrize("part", PARTS)
def test_pods_have_accounts_of_their_own(part: str, render: Render) -> None:
    documents = render(part)
    # Kubeflow Pipelines' own manifests declare that of its runs.
    declared = {one["metadata"]["name"] for one in documents if one["kind"] == "ServiceAccount"} | {RUNS}
    for name, pod in pods(documents):
        if name.startswith("ServingRuntime"):
            continue
        account = pod["serviceAccountName"]
        assert account in declared or part.endswith("/model"), name
        assert account != "default", name
        # Nobody else asks the API server: Prometheus for names, kube-state-metrics for workloads, what deploys for all.
        assert pod["automountServiceAccountToken"] is (account in {"prometheus", "kube-state-metrics", RUNS}), name


@pytest.mark.parametrize("part", OVERLAYS)
def test_roles_name_what_they_allow(part: str, render: Render) -> None:
    for role in render(part):
        if role["kind"] not in {"Role", "ClusterRole"}:
            continue
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in words, role["metadata"]["name"]
            assert "secrets" not in rule["resources"], role["metadata"]["name"]


@pytest.mark.parametrize("part", OVERLAYS)
def test_no_secret_is_in_a_manifest(part: str, render: Render) -> None:
    assert [one["metadata"]["name"] for one in render(part) if one["kind"] == "Secret"] == []


@pytest.mark.parametrize("part", OVERLAYS)
def test_nothing_is_open_that_no_policy_opens(part: str, render: Render) -> None:
    documents = render(part)
    policies = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # No rule without a port, and none that lets in whoever comes.
    for name, spec in policies.items():
        for rule in spec.get("ingress", ()):
            assert rule["from"], name
            assert rule["ports"], name
        for rule in spec.get("egress", ()):
            assert rule["ports"], name
    callers = [peer["podSelector"]["matchLabels"] for peer in policies["predictor"]["ingress"][0]["from"]]
    assert callers == [{"component": "transformer"}]


@pytest.mark.parametrize("part", OVERLAYS)
def test_metrics_have_a_port_that_prometheus_alone_reaches(part: str, render: Render) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in render(part) if one["kind"] == "NetworkPolicy"}
    service = _one(render(f"{part}/model"), "InferenceService")
    port = int(service["metadata"]["annotations"]["prometheus.io/port"])
    assert port == METRICS_PORT
    peers = {
        name: rule["from"]
        for name, spec in policies.items()
        for rule in spec.get("ingress", ())
        if port in [one["port"] for one in rule["ports"]]
    }
    assert peers == {"metrics": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}]}
    (asked,) = [rule for rule in policies["prometheus"]["egress"] if {"port": port} in rule["ports"]]
    assert asked["to"] == [{"podSelector": policies["metrics"]["podSelector"]}]
    assert asked["ports"] == [{"port": port}]


@pytest.mark.parametrize("part", OVERLAYS)
def test_everything_has_a_namespace_or_is_cluster_wide(part: str, render: Render) -> None:
    wide = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    # Where runs are: what their pods read, who of the staff may start them, and what deploys as they do.
    beside_runs = {
        ("ConfigMap", "healthrisk"),
        ("Role", "trainer"),
        ("RoleBinding", "trainer"),
        ("CronJob", "champions"),
    }
    # What reads there which proxies are ready.
    beside_the_gateway = {("Role", "kube-state-metrics"), ("RoleBinding", "kube-state-metrics")}
    others = {"kubeflow": beside_runs, "envoy-gateway-system": beside_the_gateway}
    for document in render(part):
        namespace = document["metadata"].get("namespace")
        name = (document["kind"], document["metadata"]["name"])
        if document["kind"] in wide:
            assert namespace is None, name
        else:
            assert namespace == "healthrisk" or name in others[namespace], name


def test_overlays_differ(render: Render) -> None:
    def index(part: str) -> dict[tuple[str, ...], Any]:
        return {
            (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace", "")): one for one in render(part)
        }

    small, kind, production = index("small"), index("kind"), index("production")
    assert set(small) < set(kind)
    assert {name for name, *_ in set(production) - set(kind)} >= {"SecurityPolicy", "BackendTrafficPolicy"}
    assert {name for _, name, _ in set(kind) - set(production)} >= {"object-store"}
    services = [
        _one(render(f"{part}/model"), "InferenceService")["spec"] for part in ("small", "staging", "production")
    ]
    assert [[spec[server]["minReplicas"] for server in ("predictor", "transformer")] for spec in services] == [
        [1, 1],
        [1, 1],
        [2, 2],
    ]


def test_staging_is_production_at_another_place(render: Render) -> None:
    """What is tried there is what will serve: the same documents, but for the store's address and the host's name."""
    staging, production = json.dumps(render("staging")), json.dumps(render("production"))
    assert staging != production
    places = {
        "https://s3.staging.hospital": "https://s3.hospital",
        "staging.healthrisk.hospital": "healthrisk.hospital",
    }
    for own, other in places.items():
        assert own in staging
        assert own not in production
        staging = staging.replace(own, other)
    assert staging == production


def test_a_cluster_can_be_given_another_overlay(render: Render) -> None:
    """What Kubernetes refuses to change of a stateful set is the same in each."""
    claims: dict[str, Any] = {}
    for part in OVERLAYS:
        for one in render(part):
            if one["kind"] == "StatefulSet":
                spec = one["spec"]
                fixed = (spec["volumeClaimTemplates"], spec["serviceName"], spec["selector"])
                assert claims.setdefault(one["metadata"]["name"], fixed) == fixed, part
    assert set(claims) == {"alertmanager", "postgres", "object-store"}


def test_a_model_has_a_way_in_where_there_is_a_gateway(render: Render) -> None:
    assert {one["kind"] for one in render("small/model")} == {"InferenceService"}
    for overlay in ("kind", "staging", "production"):
        route, gateway = _one(render(f"{overlay}/model"), "HTTPRoute"), _one(render(overlay), "Gateway")
        assert route["spec"]["hostnames"] == [gateway["spec"]["listeners"][0]["hostname"]]
        # No model has one before it serves; outcomes have theirs from the beginning, at one path of the same host.
        outcomes = _one(render(overlay), "HTTPRoute")
        assert outcomes["spec"]["hostnames"] == route["spec"]["hostnames"]
        (rule,) = outcomes["spec"]["rules"]
        assert rule["matches"] == [{"path": {"type": "Exact", "value": PATH}, "method": "POST"}]
        (service,) = (
            one for one in render(overlay) if (one["kind"], one["metadata"]["name"]) == ("Service", "outcomes")
        )
        (port,) = service["spec"]["ports"]
        assert rule["backendRefs"] == [{"name": "outcomes", "port": port["port"]}]


@pytest.mark.parametrize("overlay", ["kind", "production"])
def test_grpc_finds_its_model_by_a_header(overlay: str, render: Render) -> None:
    documents = in_likeness(yaml.safe_dump_all(render(f"{overlay}/model")), "mortality", "healthrisk")
    route, service = _one(documents, "HTTPRoute"), _one(documents, "Service")
    (rule,) = [one for one in route["spec"]["rules"] if "headers" in one["matches"][0]]
    assert rule["matches"] == [
        {
            "path": {"type": "PathPrefix", "value": "/inference.GRPCInferenceService"},
            "headers": [{"type": "Exact", "name": "x-model", "value": "mortality"}],
        }
    ]
    (port,) = service["spec"]["ports"]
    assert port["appProtocol"] == "kubernetes.io/h2c"
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port["port"]}]
    policies = {one["metadata"]["name"]: one["spec"] for one in render(overlay) if one["kind"] == "NetworkPolicy"}
    (rule,) = policies["transformer"]["ingress"]
    assert {"port": port["targetPort"]} in rule["ports"]
    assert service["spec"]["selector"].items() > policies["transformer"]["podSelector"]["matchLabels"].items()


def test_the_deploy_step_may_do_what_it_does_and_no_more(render: Render) -> None:
    granted = {
        (group, resource): set(rule["verbs"])
        for role in render("production")
        if role["kind"] == "Role" and role["metadata"]["name"] in {"deployer", "route-deployer"}
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted == {
        ("serving.kserve.io", "inferenceservices"): {"get", "list", "create", "patch", "delete"},
        ("gateway.networking.k8s.io", "httproutes"): {"get", "create", "patch", "delete"},
        ("", "services"): {"get", "create", "patch", "delete"},
        ("", "configmaps"): {"get"},
        ("apps", "deployments"): {"get"},
        ("", "pods"): {"list"},
    }


def _head(path: str) -> str:
    return (ROOT / path).read_text()[:400]


def _one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (document,) = (one for one in documents if one["kind"] == kind)
    return document


def test_one_rule_names_every_image_under_a_registry(render: Render, stage: Callable[..., Path]) -> None:
    registry = "registry.hospital.example:5000/mirror"
    staged = stage(REGISTRY=registry)
    ours = {script("kind/image-tag", target, REGISTRY=registry).stdout.strip() for target in ("pipeline", "serving")}
    seen = set()
    for part in PARTS:
        for name, container, _ in containers(render(part, staged)):
            assert container["image"].startswith(f"{registry}/"), name
            seen.add(container["image"])
    assert ours <= seen, "what is built, pushed and loaded is what the manifests ask for"


def test_a_staged_copy_names_our_images_by_their_content(render: Render, stage: Callable[..., Path]) -> None:
    (image,) = {container["image"] for _, container, _ in containers(render("small/model", stage()))}
    assert image == script("kind/image-tag", "serving").stdout.strip()


def test_a_staged_copy_names_our_images_by_the_digests_that_they_were_pushed_with(
    render: Render, stage: Callable[..., Path]
) -> None:
    pushed = "registry.hospital.example:5000/healthrisk/serving"
    staged = stage(SERVING_IMAGE=f"{pushed}:python3.11-0.2@sha256:{'1' * 64}")
    (image,) = {container["image"] for _, container, _ in containers(render("small/model", staged))}
    assert image == f"{pushed}@sha256:{'1' * 64}"


def test_the_pins_in_git_follow_from_the_versions(tmp_path: Path) -> None:
    done = script("manifests/pin", str(tmp_path))
    assert done.returncode == 0, done.stderr
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.yaml"))
    assert len(written) == 7
    for path in written:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), "run `make pin`"


def test_versions_stand_in_one_place(versions: dict[str, str]) -> None:
    pinned = {value.partition("@")[0].rpartition(":")[2] or value for value in versions.values()}
    listed = subprocess.run(
        ["git", "ls-files", "manifests", "kserve", "kind"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    for path in listed.stdout.split():
        if path != "kind/versions.env" and not path.endswith(".json") and "Written by manifests/pin" not in _head(path):
            text = (ROOT / path).read_text()
            assert not [version for version in pinned if len(version) > 4 and version in text], path


@pytest.mark.parametrize("part", ["kind", "production"])
def test_nothing_is_told_to_makers(part: str, render: Render) -> None:
    environment = {
        name: {one["name"]: one.get("value") for one in container.get("env", ())}
        for name, container, _ in containers(render(part))
    }
    quiet = (
        "ANALYTICS_REPORTING",
        "ANALYTICS_CHECK_FOR_UPDATES",
        "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "NEWS_NEWS_FEED",
        "SNAPSHOTS_EXTERNAL",
    )
    grafana = environment["Deployment/grafana/grafana"]
    assert {name: grafana.get(f"GF_{name}_ENABLED", grafana.get(f"GF_{name}")) for name in quiet} == dict.fromkeys(
        quiet, "false"
    )
    assert grafana["GF_SECURITY_DISABLE_GRAVATAR"] == "true"
    assert environment["Deployment/mlflow/mlflow"]["MLFLOW_DISABLE_TELEMETRY"] == "true"
