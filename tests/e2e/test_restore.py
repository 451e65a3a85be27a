"""The platform's namespace is deleted with all that it kept; keys and the volume of the backups bring everything back.

RESTORE holds the command that installs the platform, such as RESTORE="make platform OVERLAY=kind", and asks for this
test: it deletes the namespace `healthrisk`.
"""

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, Deployed
from tests.support.gateway_load import Load
from tests.support.manifest_rules import ROOT, script
from tests.support.outcome_counts import counted, database, returned
from tests.support.patience import run, until

pytestmark = pytest.mark.skipif("RESTORE" not in os.environ, reason="it deletes the namespace: RESTORE=, see above")

NAME = "readmission"
WHERE = ("--namespace", "healthrisk")
PIPELINES = ("--namespace", "kubeflow")
Kubectl = Callable[..., str]


@pytest.fixture
def kept_volume(kubectl: Kubectl) -> Iterator[str]:
    """The volume of the backups, which outlives its claim as a hospital's storage class would have it."""
    volume = kubectl(*WHERE, "get", "pvc", "backups", "--output=jsonpath={.spec.volumeName}")
    before = kubectl("get", "pv", volume, "--output=jsonpath={.spec.persistentVolumeReclaimPolicy}")

    def reclaim(policy: str) -> None:
        kubectl("patch", "pv", volume, "--patch", json.dumps({"spec": {"persistentVolumeReclaimPolicy": policy}}))

    reclaim("Retain")
    yield volume
    reclaim(before)


def run_job(kubectl: Kubectl, where: tuple[str, ...], cronjob: str) -> None:
    """Run a job of a CronJob now, to its good end."""
    name = f"e2e-{cronjob}"
    kubectl(*where, "delete", "job", name, "--ignore-not-found")
    kubectl(*where, "create", "job", name, f"--from=cronjob/{cronjob}")

    def ended() -> str:
        return kubectl(*where, "get", "job", name, "--output=jsonpath={.status.conditions[*].type}")

    found = until(ended)
    printed = kubectl(*where, "logs", f"job/{name}", "--all-containers", check=False)
    assert "Complete" in found, printed
    kubectl(*where, "delete", "job", name)


def lose(kubectl: Kubectl, volume: str) -> None:
    """Delete the namespace: databases, buckets, secrets, models."""
    kubectl("delete", "namespace", "healthrisk", "--wait=true", "--timeout=600s")
    # The next claim of that name may have it.
    kubectl("patch", "pv", volume, "--patch", '{"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}')


def bring_back(kubectl: Kubectl, keys: str) -> None:
    """Do as manifests/README.md says on an empty cluster."""
    kubectl("create", "namespace", "healthrisk")
    kubectl("apply", "--server-side", "--filename=-", stdin=keys)
    installed = run(shlex.split(os.environ["RESTORE"]), cwd=ROOT)
    assert installed.returncode == 0, installed.stderr
    suspend = ("patch", "cronjob", "backup", "--patch")
    kubectl(*WHERE, *suspend, '{"spec": {"suspend": true}}')
    server = kubectl(*PIPELINES, "get", "deployment", "ml-pipeline", "--ignore-not-found", "--output=name").strip()
    if server:
        kubectl(*PIPELINES, "scale", server, "--replicas=0")
    run_job(kubectl, WHERE, "restore")
    if server:
        kubectl(*PIPELINES, "scale", server, "--replicas=1")
    run_job(kubectl, PIPELINES, "champions")
    kubectl(*WHERE, *suspend, '{"spec": {"suspend": false}}')


def test_what_was_lost_with_the_namespace_comes_back(
    served: tuple[Bundle, Deployed],
    load: Load,
    cluster: Cluster,
    kubectl: Kubectl,
    forward: Callable[..., str],
    kept_volume: str,
) -> None:
    bundle, version = served
    until(lambda: len(load.receipts) >= 60)
    load.stop()
    url, outcome = f"http://{forward('outcomes', 80)}/v1/outcomes", bundle.spec.target.classes[0].raw[-1]
    told, later = load.receipts[:40], load.receipts[40]
    for receipt in told:
        until(partial(returned, url, receipt, outcome))
    before = counted(database(kubectl, forward), NAME)
    run_job(kubectl, WHERE, "backup")
    keys = script("manifests/keys")
    assert keys.returncode == 0, keys.stderr

    began = time.monotonic()
    lose(kubectl, kept_volume)
    bring_back(kubectl, keys.stdout)
    print(f"back {time.monotonic() - began:.0f} s after the loss began")

    assert cluster.deployed(NAME) == version
    deploy.replay(bundle, f"http://{forward(f'{NAME}-transformer', 80)}", bundle.spec)
    address = database(kubectl, forward)
    assert counted(address, NAME) == before
    # What was told already counts once, and the receipt of an answer from before the loss is known.
    for receipt in (told[0], later):
        until(partial(returned, url, receipt, outcome))
    assert counted(address, NAME) == before + 1
