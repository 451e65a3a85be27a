"""Upstream's parts, got as they are published: what is added to them, and how they move to a closed network."""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.support.container_registry import TOOLS, container_registry, crane, push_image
from tests.support.manifest_rules import ROOT, Document, build, script
from tests.support.published import IMAGES, publish

# The scripts gather, unpack and render what whole projects publish.
pytestmark = pytest.mark.slow
PARTS = ("cert-manager", "metrics-server", "gateway", "kserve", "pipelines-crds", "pipelines")
Stage = Callable[..., Path]


@pytest.fixture(scope="module")
def sources(versions: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish(tmp_path_factory.mktemp("github"), versions)


def named(documents: list[Document]) -> dict[tuple[str, str], Document]:
    """Return documents by kind and name, of which each must be there once in a namespace."""
    identities = [(one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")) for one in documents]
    assert len(set(identities)) == len(documents)
    return {(kind, name): one for (kind, name, _), one in zip(identities, documents, strict=True)}


def test_kserve_has_its_custom_resources_once_its_namespace_and_our_settings(
    sources: str, stage: Stage, kustomize: list[str]
) -> None:
    staged = stage("kserve", SOURCES=sources)
    documents = named(build(kustomize, staged / "manifests" / "upstream" / "kserve"))
    assert ("Namespace", "kserve") in documents
    assert ("CustomResourceDefinition", "inferenceservices.serving.kserve.io") in documents
    settings = documents["ConfigMap", "inferenceservice-config"]["data"]
    assert "Standard" in settings["deploy"]
    assert '"disableIngressCreation": true' in settings["ingress"]


@pytest.mark.parametrize("part", PARTS)
def test_a_node_without_a_network_runs_what_was_loaded(
    sources: str, stage: Stage, kustomize: list[str], part: str
) -> None:
    staged = stage(part, SOURCES=sources)
    for document in build(kustomize, staged / "manifests" / "upstream" / part):
        if document["kind"] in {"Deployment", "DaemonSet", "StatefulSet"}:
            containers = document["spec"]["template"]["spec"]["containers"]
            assert [one["name"] for one in containers if one.get("imagePullPolicy") == "Always"] == []


def test_a_mirror_of_the_sources_reaches_what_they_refer_to(sources: str, stage: Stage, kustomize: list[str]) -> None:
    staged = stage("pipelines", SOURCES=sources)
    documents = named(build(kustomize, staged / "manifests" / "upstream" / "pipelines"))
    workloads = {"ml-pipeline", "cache-server", "workflow-controller", "seaweedfs"}
    assert {name for _, name in documents} == workloads | {"kfp-launcher", "workflow-controller-configmap", "mysql"}


def test_a_step_bears_the_absence_of_the_pipelines_store(sources: str, stage: Stage, kustomize: list[str]) -> None:
    staged = stage("pipelines", SOURCES=sources)
    launcher = named(build(kustomize, staged / "manifests" / "upstream" / "pipelines"))["ConfigMap", "kfp-launcher"]
    assert launcher["data"]["defaultPipelineRoot"] == "", "what upstream says stays"
    # Waits double up to twenty seconds.
    assert yaml.safe_load(launcher["data"]["providers"])["minio"]["default"]["maxRetries"] >= 20


def test_a_step_is_started_again_where_it_was_killed_and_not_where_it_ended(
    sources: str, stage: Stage, kustomize: list[str]
) -> None:
    staged = stage("pipelines", SOURCES=sources)
    documents = named(build(kustomize, staged / "manifests" / "upstream" / "pipelines"))
    settings = documents["ConfigMap", "workflow-controller-configmap"]["data"]
    assert settings["artifactRepository"] == "archiveLogs: false", "what upstream says stays"
    retry = yaml.safe_load(settings["workflowDefaults"])["spec"]["templateDefaults"]["retryStrategy"]
    assert (retry["limit"], retry["retryPolicy"]) == ("2", "Always")
    # Argo's language and Python's agree on all of it but three words.
    python = retry["expression"].replace("||", "or").replace("&&", "and").replace("!(", "not (")
    python = re.sub(r'(lastRetry\.message) contains ("\w+")', r"\2 in \1", python)

    def again(status: str, code: str, message: str = "") -> bool:
        last = SimpleNamespace(status=status, exitCode=code, message=message)
        return bool(eval(python, {"lastRetry": last, "asInt": int}))

    assert again("Error", "-1", "pod deleted")
    assert again("Failed", "255", "main: Unknown (exit code 255)")
    assert again("Failed", "143", "main: Error (exit code 143)")
    assert not again("Failed", "1", "main: Error (exit code 1)")
    assert not again("Failed", "137", "main: OOMKilled (exit code 137)")


def test_the_pipelines_store_reports_nothing(sources: str, stage: Stage, kustomize: list[str]) -> None:
    staged = stage("pipelines", SOURCES=sources)
    store = named(build(kustomize, staged / "manifests" / "upstream" / "pipelines"))["Deployment", "seaweedfs"]
    changed = store["spec"]["template"]["spec"]["containers"][0]["args"]
    assert changed == ["server", "-dir=/data", "-master.telemetry=false"]


def test_metrics_server_takes_kinds_own_certificates(sources: str, stage: Stage, kustomize: list[str]) -> None:
    staged = stage("metrics-server", SOURCES=sources)
    (server,) = build(kustomize, staged / "manifests" / "upstream" / "metrics-server")
    assert server["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "--kubelet-insecure-tls"


def test_a_registry_is_named_wherever_an_image_is(sources: str, stage: Stage) -> None:
    registry = "registry.hospital.example:5000/mirror"
    plain, moved = stage(*PARTS, SOURCES=sources), stage(*PARTS, SOURCES=sources, REGISTRY=registry)
    for part in PARTS:
        text = (moved / "manifests" / "upstream" / part / "source" / f"{part}.yaml").read_text()
        expected = (plain / "manifests" / "upstream" / part / "source" / f"{part}.yaml").read_text()
        for image in IMAGES:
            first, _, rest = image.partition("/")
            expected = expected.replace(image, f"{registry}/{rest if '.' in first else image}")
        assert text == expected, part


def test_a_part_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    done = script("manifests/stage", str(tmp_path / "out"), "kserve", SOURCES=tmp_path.as_uri())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: upstream's part kserve cannot be had"


def test_every_image_is_listed_by_its_name_under_the_registry(sources: str, kustomize: list[str]) -> None:
    registry = "registry.hospital.example/mirror"
    done = script("manifests/list-images", SOURCES=sources, REGISTRY=registry, KUSTOMIZE=" ".join(kustomize))
    assert done.returncode == 0, done.stderr
    listed = done.stdout.splitlines()
    assert all(image.startswith(f"{registry}/") for image in listed)
    ours = {"healthrisk/pipeline", "healthrisk/serving", "kindest/node", "library/mysql", "library/postgres"}
    ours |= {"prom/prometheus", "prom/pushgateway", "prom/alertmanager", "grafana/grafana", "versity/versitygw"}
    ours |= {"envoyproxy/envoy", "otel/opentelemetry-collector-contrib", "jaegertracing/jaeger"}
    ours |= {"kube-state-metrics/kube-state-metrics", "victoriametrics/victoria-logs"}
    upstream = {image.partition("/")[2] if "." in image.partition("/")[0] else image for image in IMAGES}
    names = {image.removeprefix(f"{registry}/") for image in listed}
    assert upstream < names
    assert {name.partition("@")[0].partition(":")[0] for name in names - upstream} == ours


# A cluster on which the pipelines' server does not come up as it was applied before, and does as it is applied now.
KUBECTL = """#!/bin/sh
case "$*" in
  *apply*/pipelines.yaml*) touch {folder}/applied ;;
  *"--namespace kubeflow get deployments"*) [ -e {folder}/applied ] || echo "ml-pipeline 1 0" ;;
  *apply*namespace.yaml*) echo "it came as far as this" >&2; exit 1 ;;
esac
"""


def test_a_platform_that_did_not_come_up_is_corrected(sources: str, kustomize: list[str], tmp_path: Path) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL.format(folder=tmp_path))
    (tmp_path / "kubectl").chmod(0o755)
    where = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SOURCES": sources, "KUSTOMIZE": " ".join(kustomize)}
    done = script("manifests/install", OVERLAY="small", **where)
    assert done.stderr == "it came as far as this\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that holds every image, by the one rule: small images of one file each."""
    with container_registry() as address:
        yield f"{address}/mirror"


@pytest.fixture(scope="module")
def mirror(
    sources: str, registry: str, kustomize: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A folder that `manifests/mirror` filled, and the environment in which it did."""
    folder = tmp_path_factory.mktemp("mirror")
    pins = (ROOT / "kind" / "versions.env").read_text()
    (folder / "versions.env").write_text(re.sub("@sha256:[0-9a-f]{64}", "", pins))
    tools = TOOLS | {"VERSIONS": str(folder / "versions.env")}
    where = {"SOURCES": sources, "REGISTRY": registry, "KUSTOMIZE": " ".join(kustomize), **tools}
    for image in script("manifests/list-images", **where).stdout.split():
        push_image(image, folder / "versions.env")
    done = script("manifests/mirror", str(folder / "all"), **where)
    assert done.returncode == 0, done.stderr
    return folder / "all", {"KUSTOMIZE": " ".join(kustomize), **tools}


def test_a_mirror_holds_every_image_by_its_digest(mirror: tuple[Path, dict[str, str]], registry: str) -> None:
    folder, _ = mirror
    lines = [line.split() for line in (folder / "images.txt").read_text().splitlines()]
    assert {image for *_, image in lines} > IMAGES
    index = json.loads((folder / "images" / "index.json").read_text())["manifests"]
    assert [(one["annotations"]["io.containerd.image.name"], one["digest"]) for one in index] == [
        (name, digest) for name, digest, *_ in lines
    ]
    assert "docker.io/kserve/agent:v1" in {name for name, *_ in lines}, "named as a node asks for it"
    for entry in index:
        algorithm, _, digest = entry["digest"].partition(":")
        blob = (folder / "images" / "blobs" / algorithm / digest).read_bytes()
        assert (hashlib.sha256(blob).hexdigest(), len(blob)) == (digest, entry["size"])
    with tarfile.open(folder / "node.tar") as archive:
        (saved,) = json.load(archive.extractfile("manifest.json") or io.BytesIO())
    assert saved["RepoTags"][0].startswith(f"{registry}/kindest/node:")
    crane("validate", f"--tarball={folder / 'node.tar'}")


def test_a_mirror_is_all_that_staging_needs(
    mirror: tuple[Path, dict[str, str]], stage: Stage, kustomize: list[str], tmp_path: Path
) -> None:
    folder, tools = mirror
    nowhere = {"SOURCES": tmp_path.as_uri(), "VERSIONS": tools["VERSIONS"]}
    staged = stage(*PARTS, MIRROR=str(folder), **nowhere)
    documents = named(build(kustomize, staged / "manifests" / "upstream" / "kserve"))
    assert ("Namespace", "kserve") in documents
    small = named(build(kustomize, staged / "manifests" / "overlays" / "small"))
    postgres = small["StatefulSet", "postgres"]
    image = postgres["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image in {name for name, *_ in map(str.split, (folder / "images.txt").read_text().splitlines())}


def test_a_mirror_that_was_altered_is_refused(mirror: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    altered = shutil.copytree(mirror[0], tmp_path / "altered")
    with (altered / "manifests" / "kserve.yaml").open("a") as manifest:
        manifest.write("---\n")
    done = script("manifests/stage", str(tmp_path / "out"), "kserve", MIRROR=str(altered))
    assert done.returncode == 1
    assert f"error: {altered}/manifests/kserve.yaml: not there, or not as it was mirrored" in done.stderr


def test_a_mirror_is_pushed_under_the_names_that_manifests_ask_for(
    mirror: tuple[Path, dict[str, str]], registry: str
) -> None:
    folder, tools = mirror
    other = registry.replace("/mirror", "/other")
    done = script("manifests/push", MIRROR=str(folder), REGISTRY=other, **tools)
    assert done.returncode == 0, done.stderr
    for name, digest, *_, image in map(str.split, (folder / "images.txt").read_text().splitlines()):
        first, _, rest = image.partition("/")
        asked = f"{other}/{rest if '.' in first else image}"
        assert crane("digest", asked) == digest, name
