"""What the tests of the manifests share: the parts, and the containers in them."""

from collections.abc import Iterator
from typing import Any

OVERLAYS = ("small", "kind", "production")
MODELS = ("model-kind", "model-production")
PARTS = (*OVERLAYS, *MODELS)


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
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


def containers(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the name, the container and its pod specification of every container, init containers included."""
    for name, pod in pods(documents):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}/{container['name']}", container, pod
