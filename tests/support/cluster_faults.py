"""What is done to a cluster's workloads: their pods are killed, or taken away for a while."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.patience import until

Kubectl = Callable[..., str]


def kill(kubectl: Kubectl, workload: str, namespace: str = "healthrisk") -> None:
    """Kill a workload's pods without a word, and wait until others are ready."""
    where = ("--namespace", namespace)
    labels = json.loads(kubectl(*where, "get", workload, "--output=jsonpath={.spec.selector.matchLabels}"))
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listed = (*where, "get", "pods", "--selector", selector)
    before = set(kubectl(*listed, "--output=jsonpath={.items[*].metadata.uid}").split())
    # Not by force: Kubernetes would start the next pod beside the last one, and two databases would write one folder.
    kubectl(*where, "delete", "pods", "--selector", selector, "--grace-period=1")

    def replaced() -> bool:
        pods = json.loads(kubectl(*listed, "--output=json"))["items"]
        ready = [
            condition["status"] == "True"
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready" and pod["metadata"]["uid"] not in before
        ]
        return bool(ready) and all(ready) and len(ready) == len(pods)

    until(replaced, lambda: f"{workload} did not come back")


@contextmanager
def away(kubectl: Kubectl, namespace: str, workload: str) -> Iterator[None]:
    """Take a workload's only pod away, and give it back."""
    where = ("--namespace", namespace)
    kubectl(*where, "scale", workload, "--replicas=0")
    selector = kubectl(*where, "get", workload, "--output", "jsonpath={.spec.selector.matchLabels}")
    labels = ",".join(f"{key}={value}" for key, value in json.loads(selector).items())
    try:
        until(lambda: not kubectl(*where, "get", "pods", "--selector", labels, "--output=name"))
        yield
    finally:
        kubectl(*where, "scale", workload, "--replicas=1")
        kubectl(*where, "rollout", "status", workload, "--timeout=600s")
