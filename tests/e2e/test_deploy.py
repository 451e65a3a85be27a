"""Deploying on a real cluster: by the step's own code in a pod, then good and bad versions, and back again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
from healthrisk.registry import versions
from healthrisk.registry.registration import Registration
from tests.support import golden_grpc
from tests.support.patience import run

NAME = "readmission"
STEP = """
from healthrisk.deployment.deploy import deploy
from healthrisk.registry.registration import Registration
print(deploy(Registration.model_validate_json({registration!r}), "healthrisk"))
"""
# Deploys a version, and holds its answers against the golden rows of the bundle at `proof`.
CHAMPION = """
from pathlib import Path
from healthrisk.deployment import deploy
from healthrisk.bundle import store
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
bundle = store.fetch({proof!r}, None, Path("/tmp/cache"))
url = "http://readmission-transformer.healthrisk"
deploy.champion(KubernetesCluster(), bundle, {version!r}, url, seconds={seconds})
"""


def registration(alias: str, version: Deployed) -> str:
    """What the register step would have written of a version."""
    what = {"name": NAME, "version": version.number, "bundle": version.bundle, "digest": version.digest}
    return Registration(alias=alias, reason="a test", run="", **what).to_json()


@pytest.fixture(scope="module")
def served(first: tuple[Bundle, Deployed], cluster: Cluster, in_cluster: Any) -> tuple[Bundle, Deployed]:
    """The first version, deployed from nothing by a pod with the pipeline's account."""
    cluster.delete(NAME)
    _, version = first
    phase, printed = in_cluster("e2e-deploy", STEP.format(registration=registration("champion", version)))
    assert phase == "Succeeded", printed
    assert f"version {version.number} is served" in printed
    return first


@pytest.fixture(scope="module")
def second(
    served: tuple[Bundle, Deployed], register: Callable[[int], tuple[Bundle, Deployed]]
) -> tuple[Bundle, Deployed]:
    """Another version, registered while the first serves."""
    return register(2)


@pytest.fixture(scope="module")
def url(served: Any, forward: Callable[[str, int], str]) -> Callable[[], str]:
    """Return the transformer's address by a new connection: one ends with the pod that it leads to."""
    return lambda: f"http://{forward(f'{NAME}-transformer', 80)}"


def test_the_cluster_says_who_acts_on_it(cluster: KubernetesCluster, kubectl: Callable[..., str]) -> None:
    review = json.loads(kubectl("auth", "whoami", "--output=json"))
    assert cluster.user() == review["status"]["userInfo"]["username"]


def test_the_inference_service_is_ready(served: tuple[Bundle, Deployed], kubectl: Callable[..., str]) -> None:
    service = json.loads(kubectl("--namespace", "healthrisk", "get", "inferenceservice", NAME, "--output", "json"))
    conditions = {one["type"]: one["status"] for one in service["status"]["conditions"]}
    parts = ("Ready", "PredictorReady", "TransformerReady", "ExplainerReady")
    assert [conditions[part] for part in parts] == ["True"] * 4
    assert service["spec"]["predictor"]["model"]["storageUri"] == served[1].bundle


def test_rest_answers_as_offline(served: tuple[Bundle, Deployed], url: Callable[[], str]) -> None:
    answers = deploy.replay(served[0], url(), served[0].spec)
    assert len(answers) == 20


def test_grpc_answers_as_offline(served: tuple[Bundle, Deployed], kubectl: Callable[..., str]) -> None:
    # KServe's service has the REST port only; gRPC is asked of the pod itself.
    command = ["kubectl", "--context", os.environ["KUBE_CONTEXT"], "--namespace", "healthrisk"]
    command += ["port-forward", f"deployment/{NAME}-transformer", ":8081"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            with grpc.insecure_channel(next(iter(process.stdout or ())).split()[2]) as channel:
                answered = golden_grpc.probabilities(channel, served[0])
        finally:
            process.terminate()
    np.testing.assert_allclose(answered, served[0].golden.probability, atol=1e-6)


def test_a_challenger_is_served_beside_the_champion(
    served: tuple[Bundle, Deployed], second: tuple[Bundle, Deployed], cluster: Cluster, in_cluster: Any
) -> None:
    _, version = second
    phase, printed = in_cluster("e2e-challenger", STEP.format(registration=registration("challenger", version)))
    assert phase == "Succeeded", printed
    assert f"version {version.number} is served beside the champion as {NAME}-challenger" in printed
    assert cluster.deployed(NAME) == served[1]
    assert cluster.deployed(f"{NAME}-challenger") == version
    tags = versions.client().get_model_version(NAME, version.number).tags
    assert 0 < float(tags["mean_difference"]) <= float(tags["largest_difference"]) < 1
    cluster.delete(f"{NAME}-challenger")


def test_a_version_that_does_not_come_up_is_taken_back(
    served: tuple[Bundle, Deployed], cluster: Cluster, in_cluster: Any, url: Callable[[], str]
) -> None:
    bundle, version = served
    # The registry knows it under a digest that the bundle in the store does not have.
    tags = {"uri": version.bundle, "digest": "0" * 64, "family": "x", "metric": "roc_auc", "score": "1"}
    bad = versions.client().create_model_version(NAME, source=version.bundle, tags=tags)
    versions.client().set_registered_model_alias(NAME, "champion", bad.version)
    wrong = Deployed(str(bad.version), version.bundle, "0" * 64)
    phase, printed = in_cluster("e2e-bad", CHAMPION.format(proof=version.bundle, version=wrong, seconds=40))
    assert phase == "Failed"
    assert "expected 0000" in printed, "the server's own reason is given"
    assert f"version {version.number} serves again" in printed
    assert cluster.deployed(NAME) == version
    assert versions.champion(NAME).number == version.number
    assert versions.client().get_model_version(NAME, bad.version).tags["deployment"].startswith("rolled back: ")
    deploy.replay(bundle, url(), bundle.spec)


def test_a_version_that_is_not_what_was_proven_is_taken_back(
    served: tuple[Bundle, Deployed],
    second: tuple[Bundle, Deployed],
    register: Callable[[int], tuple[Bundle, Deployed]],
    cluster: Cluster,
    in_cluster: Any,
) -> None:
    _, version = served
    # What is replayed is another bundle's, which neither the servers that come nor those that go have.
    _, other = register(3)
    versions.make_champion(NAME, version.number)
    script = CHAMPION.format(proof=other.bundle, version=second[1], seconds=120)
    phase, printed = in_cluster("e2e-other", script)
    assert phase == "Failed"
    assert "the server answered 404" in printed
    assert cluster.deployed(NAME) == version
    assert versions.champion(NAME).number == version.number


def test_roll_back_by_hand(
    served: tuple[Bundle, Deployed], second: tuple[Bundle, Deployed], cluster: Cluster, in_cluster: Any
) -> None:
    _, version = served
    _, later = second
    phase, printed = in_cluster("e2e-later", CHAMPION.format(proof=later.bundle, version=later, seconds=120))
    assert phase == "Succeeded", printed
    assert cluster.deployed(NAME) == later
    script = Path(__file__).parents[2] / "pipelines" / "rollback.py"
    spec = Path(__file__).parents[1] / "support" / "readmission.yaml"
    command = [sys.executable, str(script), "--dataset", str(spec), "--context", os.environ["KUBE_CONTEXT"]]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = run(command, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"version {version.number} is served again" in done.stdout
    assert cluster.deployed(NAME) == version
    assert versions.champion(NAME).number == version.number
