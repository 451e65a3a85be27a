"""Submitting to the cluster's Kubeflow Pipelines, from a run that serves what it trained to a retraining."""

import os
import random
import re
import signal
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp
import pytest

from healthrisk.bundle import store
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster
from tests.support import patience

TRAIN = Path(__file__).parents[2] / "pipelines" / "train_pipeline.py"
# What the drift job does where an alert fires, twice.
RETRAIN = """
from healthrisk.monitoring.retrain import retrain
for _ in range(2):
    print(retrain("http://ml-pipeline.kubeflow:8888", "heart-disease", {version!r}))
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-u", str(TRAIN), "--submit", "--context", os.environ["KUBE_CONTEXT"], *words]


def submit(*words: str) -> subprocess.CompletedProcess[str]:
    return patience.run(command(*words), timeout=2 * patience.PROCESS)


@pytest.fixture(scope="module")
def client(kubectl: Any) -> kfp.Client:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(kube_context=os.environ["KUBE_CONTEXT"])


@pytest.fixture(scope="module")
def run(client: kfp.Client) -> str:
    """A run that was started and not waited for."""
    done = submit("--no-wait", "--experiment", "e2e")
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^run +(\S+)$", done.stdout, re.MULTILINE)
    assert printed
    assert f"/#/runs/details/{printed[1]}" in done.stdout
    return printed[1]


def test_a_run_has_the_pipelines_steps(client: kfp.Client, run: str) -> None:
    record = client.get_run(run)
    assert record.display_name.startswith("heart-disease ")
    version = client.get_pipeline_version(
        record.pipeline_version_reference.pipeline_id, record.pipeline_version_reference.pipeline_version_id
    )
    tasks = version.pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"]
    assert {"ingest", "train", "register", "deploy"} <= set(tasks)


def test_the_same_pipeline_is_uploaded_once(client: kfp.Client, run: str) -> None:
    def versions() -> int:
        return client.list_pipeline_versions(client.get_pipeline_id("healthrisk-training"), page_size=100).total_size

    before = versions()
    assert submit("--no-wait", "--experiment", "e2e").returncode == 0
    assert versions() == before


def test_waiting_ends(run: str) -> None:
    done = submit("--timeout", "1", "--experiment", "e2e")
    assert done.returncode == 1
    assert re.search(r"^error: run \S+ is \w+ after 1 s; it goes on\. To stop it: ", done.stderr)


def test_ctrl_c_leaves_the_run_going(client: kfp.Client, run: str) -> None:
    # A shell that started these tests in the background bequeaths that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command("--experiment", "e2e"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        started = next(line.split()[1] for line in process.stdout or () if line.startswith("run "))
        # Once the page is told the run is followed.
        next(iter(process.stdout or ()))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=patience.ANSWER)
    assert process.returncode == 130
    assert f"the run goes on. To stop it: python pipelines/train_pipeline.py --submit --cancel {started}" in said
    assert client.get_run(started).state in {"PENDING", "RUNNING"}


def test_cancel(client: kfp.Client) -> None:
    # With a seed of its own: a run whose steps are all cached would be over.
    done = submit("--no-wait", "--experiment", "e2e", "--seed", str(random.randrange(2**31)))
    (run,) = re.findall(r"^run +(\S+)$", done.stdout, re.MULTILINE)
    done = submit("--cancel", run)
    assert done.returncode == 0, done.stderr
    over = f"error: run {run} has ended as FAILED: there is nothing to stop\n"
    # While it stops it may be asked to once more.
    done = submit("--cancel", run)
    assert (done.returncode, done.stderr) in {(0, ""), (1, over)}
    # The server calls a run that was stopped a failed one.
    patience.until(lambda: client.get_run(run).state == "FAILED")
    done = submit("--cancel", run)
    assert (done.returncode, done.stderr) == (1, over)


def test_an_unknown_run_cannot_be_cancelled(client: kfp.Client) -> None:
    done = submit("--cancel", "00000000-0000-0000-0000-000000000000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Kubeflow Pipelines refused: ")
    assert done.stderr.count("\n") == 1


def test_a_schedule_is_made_then_changed_and_an_alert_starts_it(
    client: kfp.Client, in_cluster: Callable[..., tuple[str, str]]
) -> None:
    version = uuid.uuid4().hex[:12]
    experiment = f"e2e {version}"
    for cron, verb in (("0 0 3 * * 0", "made"), ("0 30 4 * * 6", "changed")):
        done = submit("--experiment", experiment, "--schedule", cron)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{verb} the schedule {cron!r} of 'retrain heart-disease'")
    listed = client.list_recurring_runs(experiment_id=client.get_experiment(experiment_name=experiment).experiment_id)
    (schedule,) = listed.recurring_runs
    assert schedule.trigger.cron_schedule.cron == "0 30 4 * * 6"
    name = f"retrain heart-disease: drift of {version}"
    phase, printed = in_cluster("e2e-retrain", RETRAIN.format(version=version))
    assert phase == "Succeeded", printed
    assert printed.splitlines() == [f"run {name!r} is started", f"run {name!r} was started before"]
    newest = client.list_runs(experiment_id=schedule.experiment_id, sort_by="created_at desc", page_size=1)
    (run,) = newest.runs
    assert run.display_name == name
    assert run.runtime_config.parameters == schedule.runtime_config.parameters
    client.terminate_run(run.run_id)
    client.delete_recurring_run(schedule.recurring_run_id)


def test_a_bad_schedule_is_refused(client: kfp.Client) -> None:
    done = submit("--schedule", "sometimes")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Kubeflow Pipelines refused: ")


def test_a_run_that_fails_is_told(client: kfp.Client) -> None:
    done = submit("--experiment", "e2e", "--data", "s3://healthrisk/nothing.csv", "--timeout", "900")
    assert done.returncode == 1
    assert re.search(r"^error: run \S+ ended as FAILED; failed: ingest; see ", done.stderr)


def test_a_run_trains_and_serves(platform: None, cluster: Cluster, forward: Callable[..., str], tmp_path: Path) -> None:
    before = cluster.deployed("heart-disease")
    done = submit("--timeout", "2400")
    assert done.returncode == 0, done.stdout + done.stderr
    served = cluster.deployed("heart-disease")
    assert served
    bundle = store.fetch(served.bundle, served.digest, tmp_path)
    answers = deploy.replay(bundle, f"http://{forward('heart-disease-transformer', 80)}", bundle.spec)
    assert len(answers) == len(bundle.golden.rows)
    if before is None:
        cluster.delete("heart-disease")
