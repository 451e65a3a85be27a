"""What the tests of the manifests share: how a folder is built, the parts, and the containers in them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.patience import run

ROOT = Path(__file__).parents[2]
OVERLAYS = ("small", "kind", "staging", "production")
MODELS = tuple(f"{overlay}/model" for overlay in OVERLAYS)
PARTS = (*OVERLAYS, *MODELS)
Document = dict[str, Any]


def script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository to its end."""
    return run([*words], cwd=ROOT, env={**os.environ, **environment})


def build(kustomize: list[str], folder: Path) -> list[Document]:
    """Return the documents of a folder with a kustomization."""
    done = script(*kustomize, str(folder))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name and the pod specification of everything that makes pods."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if "template" in document.get("spec", {}):
            yield name, document["spec"]["template"]["spec"]
        elif document["kind"] == "CronJob":
            yield name, document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif document["kind"] == "ServingRuntime":
            yield name, document["spec"]
        elif document["kind"] == "InferenceService":
            for server in ("transformer", "explainer"):
                yield f"{name} {server}", document["spec"][server]


def containers(documents: list[Document]) -> Iterator[tuple[str, dict[str, Any], Document]]:
    """Yield the name, the container and its pod specification of every container, init containers included."""
    for name, pod in pods(documents):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container, pod
