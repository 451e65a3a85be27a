"""Every volume of the platform is full at once: what is served goes on, what was taken stays, and somebody is told."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from minio.error import MinioException

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.deployment.cluster import Deployed
from healthrisk.object_store import s3_client
from tests.support import http
from tests.support.gateway_load import Load
from tests.support.outcome_counts import counted, database, returned
from tests.support.patience import until

NAME = "readmission"
WHERE = ("--namespace", "healthrisk")
# A volume much larger than its claim is a folder of the node's own disk, which is not ours to fill.
FILL = """
import os, shutil, sys
if shutil.disk_usage("/volume").total > 1.5 * {claimed}:
    sys.exit("the volume is larger than its claim")
with open("/volume/.full", "wb", buffering=0) as file:
    for size in (2**20, 2**12, 1):
        try:
            while True:
                file.write(bytes(size))
        except OSError:
            pass
"""
EMPTY = """
import os
if os.path.exists("/volume/.full"):
    os.remove("/volume/.full")
"""
Kubectl = Callable[..., str]
Item = dict[str, Any]


class Volumes:
    """The claims of the namespace, each of which a pod of ours can run a script on."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self.claims: dict[str, Item] = {one["metadata"]["name"]: one for one in self._list("persistentvolumeclaims")}
        jobs = [one["spec"]["jobTemplate"]["spec"]["template"]["spec"] for one in self._list("cronjobs")]
        self._users = [one["spec"] for one in self._list("pods")] + jobs
        (mlflow,) = (one for one in self._list("deployments") if one["metadata"]["name"] == "mlflow")
        self._image = mlflow["spec"]["template"]["spec"]["containers"][0]["image"]

    def _list(self, kind: str) -> list[Item]:
        listed: list[Item] = json.loads(self._kubectl(*WHERE, "get", kind, "--output=json"))["items"]
        return listed

    def claimed(self, name: str) -> int:
        """Return the bytes that were asked for."""
        return int(self.claims[name]["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30

    def watched(self) -> set[str]:
        """Return the claims of pods that are ready: of others a node does not say how full they are."""
        ready = [pod["spec"] for pod in self._list("pods") if _is_ready(pod)]
        return {name for name in self.claims if any(_mounts(one, name) for one in ready)}

    def run(self, script: Callable[[str], str]) -> dict[str, str]:
        """Run a script, given a claim's name, on each volume, with the rights of its own pod; return how each ended."""
        for name in self.claims:
            self._kubectl(*WHERE, "delete", "pod", f"e2e-{name}", "--ignore-not-found")
            self._kubectl("apply", "--filename=-", stdin=json.dumps(self._pod(name, script(name))))
        phases: dict[str, str] = {}

        def ended() -> bool:
            pods = {one["metadata"]["name"]: one["status"].get("phase", "") for one in self._list("pods")}
            phases.update({name: pods[f"e2e-{name}"] for name in self.claims})
            return set(phases.values()) <= {"Succeeded", "Failed"}

        until(ended, lambda: str(phases))
        for name in self.claims:
            self._kubectl(*WHERE, "delete", "pod", f"e2e-{name}")
        return phases

    def _pod(self, name: str, script: str) -> Item:
        user = next(one for one in self._users if _mounts(one, name))
        container = {
            "name": "main",
            "image": self._image,
            "command": ["python", "-c", script],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
            "resources": {"requests": {"cpu": "5m"}},
        }
        volume = {"name": "volume", "persistentVolumeClaim": {"claimName": name}}
        spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
        spec |= {"volumes": [volume], "securityContext": user["securityContext"]}
        metadata = {"name": f"e2e-{name}", "namespace": "healthrisk"}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _mounts(pod: Item, claim: str) -> bool:
    volumes = [volume.get("persistentVolumeClaim", {}) for volume in pod.get("volumes", ())]
    return any(volume.get("claimName") == claim for volume in volumes)


def _is_ready(pod: Item) -> bool:
    return ("Ready", "True") in {(one["type"], one["status"]) for one in pod["status"].get("conditions", ())}


@contextmanager
def full(volumes: Volumes) -> Iterator[None]:
    """Fill every volume, and make room again."""
    try:
        ended = volumes.run(lambda name: FILL.format(claimed=volumes.claimed(name)))
        if "Failed" in ended.values():
            pytest.skip(f"these volumes are folders of the node's own disk: {ended}")
        yield
    finally:
        volumes.run(lambda _: EMPTY)


def store_takes() -> bool:
    """Say whether an object can be put."""
    client = s3_client(settings())
    try:
        client.put_object(bucket_name="healthrisk", object_name="e2e", data=io.BytesIO(b"room"), length=4)
        client.remove_object(bucket_name="healthrisk", object_name="e2e")
    except MinioException:
        return False
    return True


def test_what_is_served_goes_on_and_nothing_is_lost_and_somebody_is_told(
    served: tuple[Bundle, Deployed],
    kubectl: Kubectl,
    load: Load,
    forward: Callable[..., str],
    ask: Callable[[str], list[Any]],
    tmp_path: Path,
) -> None:
    until(lambda: len(load.receipts) >= 60)
    receipts = load.receipts[:60]
    address, url = database(kubectl, forward), f"http://{forward('outcomes', 80)}/v1/outcomes"
    value = served[0].spec.target.classes[0].raw[-1]
    before = counted(address, NAME)
    assert all(returned(url, receipt, value) for receipt in receipts[:20])
    volumes = Volumes(kubectl)
    with full(volumes):
        until(lambda: not store_takes(), lambda: "the object store has room")
        for receipt in receipts[20:40]:
            returned(url, receipt, value)
        # What is read needs no room.
        store.fetch(served[1].bundle, served[1].digest, tmp_path / "full")
        firing = 'ALERTS{alertname="VolumeNearlyFull", alertstate="firing"}'
        until(lambda: {one.metric["persistentvolumeclaim"] for one in ask(firing)} >= volumes.watched())
        told = f"http://{forward('alertmanager', 9093)}/api/v2/alerts?filter=alertname=VolumeNearlyFull"
        until(lambda: {one["labels"]["persistentvolumeclaim"] for one in http.get(told).json()} >= volumes.watched())
    # Who was refused sends again.
    until(lambda: all(returned(url, receipt, value) for receipt in receipts))
    assert counted(address, NAME) - before == len(receipts)
    until(store_takes)
    assert (set(load.statuses), load.wrong, load.broken) == ({200}, [], [])
