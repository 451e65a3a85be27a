"""Run the pipeline on Kubeflow Pipelines: find the server, start a run or a schedule, follow it."""

import argparse
import io
import json
import os
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import httpx
import kfp
import kfp_server_api
import kubernetes
import urllib3

import upload
from healthrisk.errors import HealthriskError
from healthrisk.monitoring.retrain import schedule_name
from healthrisk.records import actions
from healthrisk.spec import DatasetSpec

NAMESPACE = "kubeflow"
POLL_SECONDS = 5.0
# After the end of a run.
TASKS_WITHIN = 60.0
_ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}


class SubmitError(HealthriskError):
    """Kubeflow Pipelines does not answer, refuses, or the run did not succeed."""


def submit(spec: DatasetSpec, arguments: argparse.Namespace) -> int:
    """Do on the cluster what the command line says; return the exit code: 0 only if it succeeded.

    Ctrl-C leaves the run going, says how to stop it, and gives 130.

    Raises:
        SubmitError: the server cannot be found, refuses, or the run fails or takes too long.
    """
    if arguments.data and Path(arguments.data).exists():
        raise SubmitError(f"--data {arguments.data}: the cluster cannot read a file of this machine; give an address")
    if arguments.schedule and arguments.override_gate:
        raise SubmitError("--override-gate is for one run that somebody has looked at, not for a schedule")
    client = connect(arguments.host, arguments.context)
    try:
        if arguments.cancel:
            _cancel(client, arguments.cancel)
            print(f"run {arguments.cancel} is asked to stop")
            return 0
        # The client prints addresses of its own.
        with redirect_stdout(io.StringIO()):
            experiment = client.create_experiment(arguments.experiment or spec.name).experiment_id
            started = upload.uploaded(client, spec, arguments)
        if arguments.schedule:
            made = _schedule(client, spec, experiment, arguments.schedule, started)
            actions.tell("retraining", spec.name, reason=made)
            print(made)
            return 0
        name = f"{spec.name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        with redirect_stdout(io.StringIO()):
            run = client.run_pipeline(experiment, name, **started).run_id
        actions.tell("retraining", spec.name, reason=f"run {run} is submitted")
    except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
        raise SubmitError(f"Kubeflow Pipelines refused: {upload.reason(error)}") from error
    try:
        print(f"run       {run}\npage      {_page(client, run)}", flush=True)
        return follow(client, run, arguments.timeout) if arguments.wait else 0
    except KeyboardInterrupt:
        print(f"\nthe run goes on. {_how(run)}")
        return 130


def connect(host: str, context: str) -> kfp.Client:
    """Return a client: of `host`, else of KF_PIPELINES_ENDPOINT, else of the kube context's cluster.

    Raises:
        SubmitError: nothing answers there within seconds; kfp's own client would try for minutes.
    """
    host = host or os.environ.get("KF_PIPELINES_ENDPOINT", "")
    # The client warns of servers older than two major versions.
    warnings.filterwarnings("ignore", message="This client only works with Kubeflow Pipeline", category=FutureWarning)
    if host:
        host = host if "://" in host else f"http://{host}"
        try:
            answer = httpx.get(f"{host.rstrip('/')}/apis/v2beta1/healthz", timeout=upload.ANSWERS_WITHIN)
            answer.raise_for_status().json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise SubmitError(f"no Kubeflow Pipelines at {host}: {error or type(error).__name__}") from error
        return kfp.Client(host=host)
    try:
        kubernetes.config.load_kube_config(context=context or None)
        kubernetes.client.CoreV1Api().connect_get_namespaced_service_proxy_with_path(
            "ml-pipeline:http", NAMESPACE, "apis/v2beta1/healthz", _request_timeout=upload.ANSWERS_WITHIN
        )
    except kubernetes.config.ConfigException as error:
        raise SubmitError(
            f"no Kubeflow Pipelines: give --host, or KF_PIPELINES_ENDPOINT, or a kube context: {error}"
        ) from error
    except kubernetes.client.ApiException as error:
        raise SubmitError(f"no Kubeflow Pipelines in namespace {NAMESPACE} of that cluster: {error.reason}") from error
    except urllib3.exceptions.HTTPError as error:
        raise SubmitError(f"the cluster of the kube context does not answer: {error}") from error
    return kfp.Client(kube_context=context or None)


def _cancel(client: kfp.Client, run: str) -> None:
    """Ask a run to stop, once more if it was asked before.

    Raises:
        SubmitError: it has ended by itself.
    """
    try:
        client.terminate_run(run)
    except kfp_server_api.ApiException:
        # Of a run that does not go on the server says that it has no such row.
        state = client.get_run(run).state
        if state in _ENDED:
            raise SubmitError(f"run {run} has ended as {state}: there is nothing to stop") from None
        if state != "CANCELING":
            raise


def follow(client: kfp.Client, run: str, timeout: float) -> int:
    """Print each change of a run's tasks until it has ended; return 0 if it succeeded.

    Raises:
        SubmitError: the run ended otherwise, or goes on after `timeout` seconds.
    """
    began, seen = time.monotonic(), dict[str, str]()
    while (state := _poll(client, run, seen)) not in _ENDED:
        if time.monotonic() - began > timeout:
            raise SubmitError(f"run {run} is {state or 'waiting'} after {timeout:.0f} s; it goes on. {_how(run)}")
        time.sleep(POLL_SECONDS)
    if state != "SUCCEEDED":
        # The server says that a run has ended a moment before it says which task has failed.
        asked = time.monotonic()
        while "FAILED" not in seen.values() and time.monotonic() - asked < TASKS_WITHIN:
            time.sleep(POLL_SECONDS)
            _poll(client, run, seen)
        # Where its record outgrows Argo's megabyte, Kubeflow Pipelines does not hear of the last tasks.
        failed = ", ".join(name for name, value in seen.items() if value == "FAILED") or "a task it does not name"
        raise SubmitError(f"run {run} ended as {state}; failed: {failed}; see {_page(client, run)}")
    print(f"succeeded in {time.monotonic() - began:.0f} s")
    return 0


def _poll(client: kfp.Client, run: str, seen: dict[str, str]) -> str:
    """Return the state of a run, after printing what has changed since it was asked last."""
    try:
        record = client.get_run(run)
    except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
        # A server that restarts is asked again until the time is up.
        print(f"{time.strftime('%H:%M:%S')}  the server does not answer: {upload.reason(error)}", flush=True)
        return ""
    for task in (record.run_details and record.run_details.task_details) or ():
        name, state = task.display_name or "", task.state or ""
        if state and seen.get(name) != state and _is_step(name):
            seen[name] = state
            print(f"{time.strftime('%H:%M:%S')}  {name}: {state.lower()}", flush=True)
    return record.state or ""


def _is_step(name: str) -> bool:
    """Say whether a task is a step: the server lists drivers, each try, and the run under several names, too."""
    return not (name.endswith(("-driver", ")")) or name in {"root", "executor"} or name.startswith("healthrisk-"))


def _schedule(client: kfp.Client, spec: DatasetSpec, experiment: str, cron: str, started: upload.Started) -> str:
    """Make the recurring run of a data set, in place of the one it has; return what was done, in words."""
    name = schedule_name(spec.name)
    wanted = {"key": "name", "operation": "EQUALS", "stringValue": name}
    listed = client.list_recurring_runs(experiment_id=experiment, filter=json.dumps({"predicates": [wanted]}))
    previous = listed.recurring_runs or ()
    made = client.create_recurring_run(
        experiment, name, cron_expression=cron, max_concurrency=1, no_catchup=True, **started
    ).recurring_run_id
    for one in previous:
        client.delete_recurring_run(one.recurring_run_id)
    return f"{'changed' if previous else 'made'} the schedule {cron!r} of {name!r}: {made}"


def _page(client: kfp.Client, run: str) -> str:
    """Return where a person can look at a run; through a kube context that takes a port-forward first."""
    page = f"/#/runs/details/{run}"
    address = str(client._get_url_prefix())
    if "://" in address:
        return address + page
    return f"http://localhost:8888{page} (kubectl -n {NAMESPACE} port-forward svc/ml-pipeline-ui 8888:80)"


def _how(run: str) -> str:
    return f"To stop it: python pipelines/train_pipeline.py --submit --cancel {run}"
