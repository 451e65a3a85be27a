"""What is taken away comes back, and meanwhile models answer, waiting commands wait, and nothing is lost."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from healthrisk.bundle import Bundle, store
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.registry import versions
from tests.support.cluster_faults import away
from tests.support.patience import PROCESS, run, until

NAME = "readmission"
TRAIN = Path(__file__).parents[2] / "pipelines" / "train_pipeline.py"
Kubectl = Callable[..., str]


@pytest.fixture
def replay(served: tuple[Bundle, Deployed], forward: Callable[[str, int], str]) -> Callable[[], object]:
    """Hold the served model's answers against its golden rows."""
    url = f"http://{forward(f'{NAME}-transformer', 80)}"
    return lambda: deploy.replay(served[0], url, served[0].spec)


@pytest.fixture
def disturb(
    platform: None, cluster: Cluster, forward: Callable[..., str], tmp_path: Path
) -> Callable[[AbstractContextManager[None]], int]:
    """Submit a run, take away from it what it needs until it is told so; return its exit code, once what it made is
    seen to be served.
    """

    def run_through(away: AbstractContextManager[None]) -> int:
        before = cluster.deployed("heart-disease")
        command = [sys.executable, "-u", str(TRAIN), "--submit", "--context", os.environ["KUBE_CONTEXT"]]
        # With a seed of its own: what was done before is not done again.
        command += ["--timeout", str(PROCESS), "--seed", str(random.randrange(2**31))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            said = iter(process.stdout or ())
            lines = [next(line for line in said if line.endswith("  preprocess: running\n"))]
            with away:
                lines.append(next(line for line in said if "the server does not answer" in line))
            lines += list(said)
        assert process.returncode == 0, "".join(lines)
        served = cluster.deployed("heart-disease")
        assert served
        bundle = store.fetch(served.bundle, served.digest, tmp_path)
        deploy.replay(bundle, f"http://{forward('heart-disease-transformer', 80)}", bundle.spec)
        if before is None:
            cluster.delete("heart-disease")
        return process.returncode

    return run_through


def test_a_model_answers_without_the_store_and_a_new_pod_waits_for_it(
    served: tuple[Bundle, Deployed], kubectl: Kubectl, replay: Callable[[], object]
) -> None:
    where = ("--namespace", "healthrisk")
    pods = ("get", "pods", f"--selector=serving.kserve.io/inferenceservice={NAME},component=explainer")
    with away(kubectl, "healthrisk", "statefulset/object-store"):
        replay()
        kubectl(*where, "delete", kubectl(*where, *pods, "--output=name").split()[0])
        state = "jsonpath={.items[0].status.initContainerStatuses[0].state.running}"
        until(lambda: kubectl(*where, *pods, "--output", state))
    kubectl(*where, "rollout", "status", f"deployment/{NAME}-explainer", "--timeout=600s")
    restarts = kubectl(*where, *pods, "--output", "jsonpath={.items[0].status.initContainerStatuses[0].restartCount}")
    assert restarts == "0", "the pod bears the store's absence within one try"
    replay()


def test_a_killed_database_keeps_the_registry(
    served: tuple[Bundle, Deployed], kubectl: Kubectl, replay: Callable[[], object]
) -> None:
    before = versions.champion(NAME)
    kubectl("--namespace", "healthrisk", "delete", "pod", "postgres-0", "--grace-period=1")
    replay()
    assert versions.champion(NAME) == before, "asked while the database comes up"


def test_a_run_goes_on_through_stores_and_a_server_that_are_away(
    disturb: Callable[[AbstractContextManager[None]], int], kubectl: Kubectl
) -> None:
    @contextmanager
    def all_away() -> Iterator[None]:
        with (
            away(kubectl, "kubeflow", "deployment/seaweedfs"),
            away(kubectl, "healthrisk", "statefulset/object-store"),
            away(kubectl, "kubeflow", "deployment/ml-pipeline"),
        ):
            yield

    assert disturb(all_away()) == 0


def test_bad_input_is_not_tried_again(kubectl: Kubectl, platform: None) -> None:
    command = [sys.executable, str(TRAIN), "--submit", "--context", os.environ["KUBE_CONTEXT"], "--experiment", "e2e"]
    done: Any = run([*command, "--data", "s3://healthrisk/nothing.csv"])
    assert done.returncode == 1
    (workflow,) = re.findall(r"^run +(\S+)$", done.stdout, re.MULTILINE)
    selector = ("get", "workflows", f"--selector=pipeline/runid={workflow}", "--output=json")
    (pod,) = json.loads(kubectl("--namespace", "kubeflow", *selector))["items"]
    tries = [node for node in pod["status"]["nodes"].values() if node["type"] == "Pod" and node["phase"] == "Failed"]
    assert len(tries) == 1


def test_a_run_and_a_model_outlive_a_crash_of_the_node(
    disturb: Callable[[AbstractContextManager[None]], int], kubectl: Kubectl, replay: Callable[[], object]
) -> None:
    node = kubectl("get", "nodes", "--output=jsonpath={.items[0].metadata.name}")
    if shutil.which("docker") is None or run(["docker", "inspect", node]).returncode:
        pytest.skip("the cluster's node is no container: make kind-up")
    before = versions.champion(NAME)

    def works() -> bool:
        where = ("--namespace", "kubeflow", "--selector", "workflows.argoproj.io/completed=false")
        running = kubectl("get", "pods", *where, "--field-selector=status.phase=Running", "--output=name")
        return "container-impl" in running

    @contextmanager
    def crashed() -> Iterator[None]:
        # Of a pod that has not begun to work Kubernetes leaves a shell that neither goes on nor ends.
        until(works, lambda: "the step's pod never ran")
        assert run(["docker", "kill", node]).returncode == 0
        try:
            yield
        finally:
            assert run(["docker", "start", node]).returncode == 0

    assert disturb(crashed()) == 0
    assert versions.champion(NAME) == before
    replay()
