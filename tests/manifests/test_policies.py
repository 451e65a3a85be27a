"""Rules of this house that no schema says."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from healthrisk.serving.servers.model_server import METRICS_PORT
from tests.support.manifest_rules import OVERLAYS, PARTS, containers, pods
from tests.support.patience import PROCESS

ROOT = Path(__file__).parents[2]
Render = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("part", PARTS)
def test_images_are_pinned(part: str, render: Render) -> None:
    for name, container, _ in containers(render(part)):
        assert re.search(r"@sha256:[0-9a-f]{64}$|^healthrisk/\w+:python3\.11-[0-9a-f]{12}$", container["image"]), name


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
    declared = {one["metadata"]["name"] for one in documents if one["kind"] == "ServiceAccount"}
    for name, pod in pods(documents):
        if name.startswith("ServingRuntime"):
            continue
        account = pod["serviceAccountName"]
        assert account in declared or part.startswith("model-"), name
        assert account != "default", name
        # Prometheus alone asks the API server for anything.
        assert pod["automountServiceAccountToken"] is (account == "prometheus"), name


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


@pytest.mark.parametrize(
    ("part", "model"), [("small", "model-kind"), ("kind", "model-kind"), ("production", "model-production")]
)
def test_metrics_have_a_port_that_prometheus_alone_reaches(part: str, model: str, render: Render) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in render(part) if one["kind"] == "NetworkPolicy"}
    (port,) = {int(one["metadata"]["annotations"]["prometheus.io/port"]) for one in render(model)}
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
    for document in render(part):
        namespace = document["metadata"].get("namespace")
        name = (document["kind"], document["metadata"]["name"])
        if document["kind"] in wide:
            assert namespace is None, name
        else:
            assert namespace == "healthrisk" or (name == ("ConfigMap", "healthrisk") and namespace == "kubeflow"), name


def test_overlays_differ(render: Render) -> None:
    def index(part: str) -> dict[tuple[str, ...], Any]:
        return {
            (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace", "")): one for one in render(part)
        }

    small, kind, production = index("small"), index("kind"), index("production")
    assert set(small) < set(kind)
    assert {name for name, *_ in set(production) - set(kind)} >= {"SecurityPolicy", "BackendTrafficPolicy"}
    assert {name for _, name, _ in set(kind) - set(production)} >= {"object-store"}
    scaled = [render(part)[0]["spec"] for part in ("model-kind", "model-production")]
    assert [[spec[server]["minReplicas"] for server in ("predictor", "transformer")] for spec in scaled] == [
        [1, 1],
        [2, 2],
    ]


def test_one_registry_serves_every_image(render: Render) -> None:
    for part in PARTS:
        for name, container, _ in containers(render(part, REGISTRY="registry.hospital.example/mirror")):
            assert container["image"].startswith("registry.hospital.example/mirror/"), name


def test_versions_stand_in_one_place(versions: dict[str, str]) -> None:
    pinned = {value.partition("@")[0].rpartition(":")[2] or value for value in versions.values()}
    listed = subprocess.run(
        ["git", "ls-files", "manifests", "kserve", "kind"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    for path in listed.stdout.split():
        if path != "kind/versions.env" and not path.endswith(".json"):
            text = (ROOT / path).read_text()
            assert not [version for version in pinned if len(version) > 4 and version in text], path


@pytest.mark.parametrize("part", ["kind", "production"])
def test_nothing_is_told_to_makers(part: str, render: Render) -> None:
    told = {
        name: {one["name"]: one.get("value") for one in container.get("env", ())}
        for name, container, _ in containers(render(part))
    }
    quiet = (
        "ANALYTICS_REPORTING",
        "ANALYTICS_CHECK_FOR_UPDATES",
        "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "NEWS_NEWS_FEED",
    )
    grafana = told["Deployment/grafana/grafana"]
    assert {name: grafana.get(f"GF_{name}_ENABLED", grafana.get(f"GF_{name}")) for name in quiet} == dict.fromkeys(
        quiet, "false"
    )
    assert grafana["GF_SECURITY_DISABLE_GRAVATAR"] == "true"
    assert told["Deployment/mlflow/mlflow"]["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_pipelines_store_reports_nothing(tmp_path: Path, kustomize: list[str]) -> None:
    """Our change, applied to a Deployment with the name and the first arguments of the release's."""
    container = {"name": "seaweedfs", "image": "seaweedfs", "args": ["server", "-dir=/data"]}
    store = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "seaweedfs"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    (tmp_path / "store.yaml").write_text(yaml.safe_dump(store))
    shutil.copytree(ROOT / "manifests/others/pipelines", tmp_path / "ours")
    (tmp_path / "kustomization.yaml").write_text("resources: [store.yaml]\ncomponents: [ours]\n")
    done = subprocess.run([*kustomize, str(tmp_path)], check=True, capture_output=True, text=True, timeout=PROCESS)
    changed = yaml.safe_load(done.stdout)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert changed == [*container["args"], "-master.telemetry=false"]
