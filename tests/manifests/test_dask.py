"""A Dask cluster beside the pipeline: off until an overlay turns it on, and its very commands run here."""

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml

from healthrisk import engine
from tests.support import http
from tests.support.dask_cluster import DASK
from tests.support.manifest_rules import PARTS, ROOT, Document, build, containers, pods
from tests.support.patience import until
from tests.support.servers import free_ports

ADDRESS = "tcp://dask-scheduler.healthrisk.svc:8786"
NAMES = ("dask-scheduler", "dask-worker")


@pytest.fixture(scope="module", params=["small", "production"])
def turned_on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kustomize: list[str]
) -> list[Document]:
    """An overlay's documents, with the cluster."""
    folder = tmp_path_factory.mktemp("dask")
    for name in ("manifests", "kserve"):
        shutil.copytree(ROOT / name, folder / name)
    overlay = folder / "manifests" / "overlays" / request.param
    path = overlay / "kustomization.yaml"
    document = yaml.safe_load(path.read_text())
    document["components"] = ["../../dask", *document["components"]]
    path.write_text(yaml.safe_dump(document))
    with (overlay / "healthrisk.env").open("a") as settings:
        settings.write(f"HEALTHRISK_DASK={ADDRESS}\n")
    return build(kustomize, overlay)


def deployment(documents: list[Document], name: str) -> Document:
    (found,) = (one for one in documents if one["kind"] == "Deployment" and one["metadata"]["name"] == name)
    return found


def test_it_is_off_until_it_is_turned_on(render: Callable[..., list[Document]]) -> None:
    for part in PARTS:
        assert "dask" not in json.dumps(render(part)).lower(), part


def test_steps_find_it_by_the_configuration(turned_on: list[Document]) -> None:
    (settings,) = (
        one["data"]
        for one in turned_on
        if one["kind"] == "ConfigMap" and one["metadata"] == {"name": "healthrisk", "namespace": "kubeflow"}
    )
    (service,) = (one for one in turned_on if one["kind"] == "Service" and one["metadata"]["name"] == "dask-scheduler")
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert settings["HEALTHRISK_DASK"] == f"tcp://{name}.{namespace}.svc:{service['spec']['ports'][0]['port']}"
    golden = (ROOT / "pipelines" / "training.yaml").read_text()
    assert golden.count("configMapKey: HEALTHRISK_DASK") == golden.count("configMapKey: HEALTHRISK_ALERTS") > 0
    for _, container, _ in containers([deployment(turned_on, "dask-worker")]):
        assert "HEALTHRISK_DASK" not in json.dumps(container)


def test_its_containers_are_restricted(turned_on: list[Document]) -> None:
    found = [deployment(turned_on, name) for name in NAMES]
    for _, pod in pods(found):
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == "dask"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for _, container, _ in containers(found):
        own = container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        assert container["image"].startswith("healthrisk/pipeline:")
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}
    assert "AWS" not in json.dumps(deployment(turned_on, "dask-scheduler"))
    assert "object-store" not in json.dumps(deployment(turned_on, "dask-scheduler"))


def test_only_runs_and_workers_reach_the_scheduler(turned_on: list[Document]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in turned_on if one["kind"] == "NetworkPolicy"}
    (rule,) = policies["dask-scheduler"]["ingress"]
    steps, workers = rule["from"]
    assert steps["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "kubeflow"}}
    assert steps["podSelector"] == {"matchExpressions": [{"key": "pipeline/runid", "operator": "Exists"}]}
    assert workers == {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "dask-worker"}}}
    assert rule["ports"] == [{"port": 8786}]


def test_it_keeps_the_schemas_of_its_kinds(turned_on: list[Document], kubernetes_schemas: dict[Any, Any]) -> None:
    for document in (one for one in turned_on if "dask" in one["metadata"]["name"]):
        schema = kubernetes_schemas[document["apiVersion"], document["kind"]]
        assert list(jsonschema_rs.Draft4Validator(schema).iter_errors(document)) == [], document["metadata"]["name"]


@pytest.mark.slow
def test_its_commands_make_a_cluster_that_works(
    turned_on: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = dict(zip(("8786", "scheduler", "8789", "worker"), map(str, free_ports(4)), strict=True))
    with ExitStack() as running:
        for name in NAMES:
            ((_, container, _),) = containers([deployment(turned_on, name)])
            assert container["command"] == ["dask", name.removeprefix("dask-")]
            words = " ".join(container["args"]).replace(":8787", f":{ports[name.removeprefix('dask-')]}")
            words = words.replace("dask-scheduler", "127.0.0.1").replace("8786", ports["8786"])
            words = words.replace("8789", ports["8789"]).replace("=/tmp", f"={tmp_path}")
            command = [str(DASK), container["command"][1], *words.split(" "), "--host=127.0.0.1"]
            with (tmp_path / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
            running.callback(process.wait)
            running.callback(process.kill)
            probe = (
                f"http://127.0.0.1:{ports[name.removeprefix('dask-')]}{container['livenessProbe']['httpGet']['path']}"
            )
            until(lambda url=probe: is_healthy(url), (tmp_path / f"{name}.log").read_text)
        monkeypatch.setenv("HEALTHRISK_DASK", f"tcp://127.0.0.1:{ports['8786']}")
        with engine.connect() as tasks:
            assert list(tasks.map(abs, [-1, -2])) == [1, 2]


def is_healthy(url: str) -> bool:
    try:
        return http.get(url).status_code == 200
    except httpx.TransportError:
        return False
