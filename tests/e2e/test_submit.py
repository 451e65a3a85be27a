"""Submitting to a real Kubeflow Pipelines, whose API server KF_PIPELINES_ENDPOINT names."""

import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import kfp
import pytest

TRAIN = Path(__file__).parents[2] / "pipelines" / "train_pipeline.py"


def submit(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TRAIN), "--submit", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def client() -> kfp.Client:
    if "KF_PIPELINES_ENDPOINT" not in os.environ:
        pytest.skip("no Kubeflow Pipelines: KF_PIPELINES_ENDPOINT names none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client()


@pytest.fixture(scope="module")
def run(client: kfp.Client) -> str:
    """A run that was started and not waited for."""
    done = submit("--no-wait", "--experiment", "e2e")
    assert done.returncode == 0, done.stderr
    found = re.search(r"^run +(\S+)$", done.stdout, re.MULTILINE)
    assert found
    assert f"/#/runs/details/{found[1]}" in done.stdout
    return found[1]


def test_a_run_has_the_pipelines_steps(client: kfp.Client, run: str) -> None:
    found = client.get_run(run)
    assert found.display_name.startswith("heart-disease ")
    version = client.get_pipeline_version(
        found.pipeline_version_reference.pipeline_id, found.pipeline_version_reference.pipeline_version_id
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
    command = [sys.executable, "-u", str(TRAIN), "--submit", "--experiment", "e2e"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        started = next(line.split()[1] for line in process.stdout or () if line.startswith("run "))
        # Once the page is told the run is followed.
        next(iter(process.stdout or ()))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"the run goes on. To stop it: python pipelines/train_pipeline.py --submit --cancel {started}" in said
    assert client.get_run(started).state in {"PENDING", "RUNNING"}


def test_cancel(client: kfp.Client, run: str) -> None:
    done = submit("--cancel", run)
    assert done.returncode == 0, done.stderr
    assert client.get_run(run).state in {"CANCELING", "CANCELED"}


def test_an_unknown_run_cannot_be_cancelled(client: kfp.Client) -> None:
    done = submit("--cancel", "00000000-0000-0000-0000-000000000000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Kubeflow Pipelines refused: ")
    assert done.stderr.count("\n") == 1


def test_a_schedule_is_made_then_changed(client: kfp.Client) -> None:
    experiment = "e2e schedule"
    for cron, verb in (("0 0 3 * * 0", "made"), ("0 30 4 * * 6", "changed")):
        done = submit("--experiment", experiment, "--schedule", cron)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{verb} the schedule {cron!r} of 'retrain heart-disease'")
    found = client.list_recurring_runs(experiment_id=client.get_experiment(experiment_name=experiment).experiment_id)
    (schedule,) = found.recurring_runs
    assert schedule.trigger.cron_schedule.cron == "0 30 4 * * 6"
    client.delete_recurring_run(schedule.recurring_run_id)


def test_a_bad_schedule_is_refused(client: kfp.Client) -> None:
    done = submit("--schedule", "sometimes")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Kubeflow Pipelines refused: ")
