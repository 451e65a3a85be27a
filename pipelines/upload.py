"""What a run on Kubeflow Pipelines starts from: the steps' image, and the pipeline compiled with it and uploaded."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

import kfp
import kubernetes
import urllib3

from healthrisk.deployment.cluster import NAMESPACE
from healthrisk.records import actor
from healthrisk.spec import DatasetSpec

ROOT = Path(__file__).parents[1]
ANSWERS_WITHIN = 5.0


class Started(TypedDict):
    """What a run, now or at its time, is started with: the pipeline's parameters, and which version of it."""

    params: dict[str, str | int]
    pipeline_id: str
    version_id: str


def uploaded(client: kfp.Client, spec: DatasetSpec, arguments: argparse.Namespace) -> Started:
    """Return what the command line asks for, after uploading the pipeline if the server does not have this version."""
    parameters: dict[str, str | int] = {
        "spec": spec.to_json(),
        "data": arguments.data,
        "seed": arguments.seed,
        "level": arguments.evidence,
        "rollout": arguments.rollout,
    }
    if arguments.override_gate:
        parameters |= {"override_gate": arguments.override_gate, "override_by": actor.current()}
    pipeline, version = _upload(client, _image(arguments))
    return Started(params=parameters, pipeline_id=pipeline, version_id=version)


def _upload(client: kfp.Client, image: str) -> tuple[str, str]:
    """Compile the pipeline and upload it, unless this very version is there; return the ids of pipeline and version."""
    # The steps read it when they are imported.
    os.environ["HEALTHRISK_PIPELINE_IMAGE"] = image
    from kfp import compiler

    from cluster_pipeline import training
    from pipeline import NAME

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        compiler.Compiler().compile(training, str(path))
        version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        pipeline = client.get_pipeline_id(NAME)
        if pipeline is None:
            pipeline = client.upload_pipeline(str(path), NAME).pipeline_id
        wanted = {"key": "name", "operation": "EQUALS", "stringValue": version}
        same = client.list_pipeline_versions(pipeline, filter=json.dumps({"predicates": [wanted]})).pipeline_versions
        if not same:
            same = [client.upload_pipeline_version(str(path), version, pipeline_id=pipeline)]
    return pipeline, same[0].pipeline_version_id


def _image(arguments: argparse.Namespace) -> str:
    """Return the image of the steps: HEALTHRISK_PIPELINE_IMAGE, else the one that the platform was installed with.

    Where only Kubeflow Pipelines' own address is known the cluster cannot be asked, and the image is named as
    `make images PUSH=REGISTRY` names what it pushes, or by REGISTRY alone.
    """
    if given := os.environ.get("HEALTHRISK_PIPELINE_IMAGE"):
        return given
    tag = subprocess.run([str(ROOT / "kind" / "image-tag"), "pipeline"], check=True, capture_output=True, text=True)
    ours = tag.stdout.strip()
    if arguments.host or os.environ.get("KF_PIPELINES_ENDPOINT"):
        return ours
    try:
        server = kubernetes.client.AppsV1Api().read_namespaced_deployment(
            "mlflow", NAMESPACE, _request_timeout=ANSWERS_WITHIN
        )
    except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError) as error:
        _note(f"the cluster does not say which image it has ({reason(error)}): {ours} is asked for")
        return ours
    # MLflow's server runs in the same image as the steps.
    installed = str(server.spec.template.spec.containers[0].image)
    if installed.rpartition(":")[2] != ours.rpartition(":")[2]:
        _note(
            f"the cluster has {installed}, which is another state of the code than this; make kind-up brings this one"
        )
    return installed


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def reason(error: Exception) -> str:
    """Return the server's own words, on one line."""
    try:
        body = json.loads(getattr(error, "body", "") or "")
        return " ".join(str(body.get("message") or body.get("error_message") or body)[:500].split())
    except ValueError:
        return " ".join(str(getattr(error, "reason", None) or error).split())
