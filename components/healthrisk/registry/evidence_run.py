"""The evidence of a registered version as its MLflow run holds it, carried from one registry to another."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from healthrisk.documents import Document
from healthrisk.errors import StoreError
from healthrisk.registry import tracking, versions

# Else MLflow says where a run is, and how far a download, in the midst of what a command prints.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
_DIGEST = "promoted.digest"


class EvidenceRun(Document):
    """What a run says besides its files: parameters, the last value of each metric, and what was trained."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def download(run: str, folder: Path) -> EvidenceRun:
    """Copy a run's files into a new folder, and return what else it says; a version without a run has no evidence."""
    folder.mkdir()
    if not run:
        return EvidenceRun(params={}, metrics={}, tags={})
    client = versions.client()
    data = client.get_run(run).data
    _download(client, run, folder)
    # How it came there, and what MLflow says of itself, is not what is carried on.
    tags = {name: value for name, value in data.tags.items() if not name.startswith(("mlflow.", "promoted."))}
    name = {MLFLOW_RUN_NAME: data.tags[MLFLOW_RUN_NAME]} if MLFLOW_RUN_NAME in data.tags else {}
    return EvidenceRun(params=data.params, metrics=data.metrics, tags=tags | name)


def upload(name: str, digest: str, evidence: EvidenceRun, folder: Path, tags: Mapping[str, str]) -> str:
    """Write a version's evidence into a run here, found again by the bundle's digest; return the run's id.

    Raises:
        StoreError: what can be read back is not what was written.
    """
    client, experiment = versions.client(), tracking.experiment(name)
    same = client.search_runs([experiment], f"tags.`{_DIGEST}` = '{digest}'", max_results=1)
    if same:
        run = same[0].info.run_id
    else:
        run = client.create_run(experiment, tags=evidence.tags | dict(tags) | {_DIGEST: digest}).info.run_id
    now = client.get_run(run).info.start_time
    client.log_batch(
        run,
        metrics=[Metric(metric, value, now, 0) for metric, value in evidence.metrics.items()],
        params=[Param(key, value) for key, value in evidence.params.items()],
        tags=[RunTag(key, value) for key, value in evidence.tags.items()],
    )
    client.log_artifacts(run, str(folder))
    client.set_terminated(run)
    back = folder.with_name(f"{folder.name}-back")
    back.mkdir()
    _download(client, run, back)
    if digest_of(back) != digest_of(folder):
        raise StoreError(f"the evidence of {name} {digest[:12]} is not read back as it was written")
    return str(run)


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of the names and the bytes of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _download(client: MlflowClient, run: str, folder: Path) -> None:
    # Otherwise MLflow logs that there is nothing.
    if client.list_artifacts(run):
        client.download_artifacts(run, "", str(folder))
