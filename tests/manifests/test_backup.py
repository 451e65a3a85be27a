"""The job that restores, and the one that backs up: the same folders, the same images."""

from collections.abc import Callable
from pathlib import Path

from tests.support.manifest_rules import Document, build, containers, pods, script

Render = Callable[..., list[Document]]


def jobs(render: Render) -> dict[str, Document]:
    return {one["metadata"]["name"]: one for one in render("small") if one["kind"] == "CronJob"}


def test_what_one_job_writes_the_other_reads(render: Render) -> None:
    saving, restoring = jobs(render)["backup"], jobs(render)["restore"]
    mounted = [
        {
            (container["name"], mount["name"], mount["mountPath"])
            for _, container, _ in containers([part])
            for mount in container.get("volumeMounts", ())
        }
        for part in (saving, restoring)
    ]
    assert {("backup", "backups", "/backups"), ("dump", "dumps", "/dumps")} < mounted[0]
    assert {("objects", "backups", "/backups"), ("database", "dumps", "/dumps")} < mounted[1]
    ((_, writes),), ((_, reads),) = pods([saving]), pods([restoring])
    assert writes["volumes"] == reads["volumes"]
    assert writes["serviceAccountName"] == reads["serviceAccountName"]


def test_restoring_and_serving_again_wait_to_be_asked_for(render: Render) -> None:
    specs = {name: job["spec"] for name, job in jobs(render).items()}
    assert {name for name, spec in specs.items() if spec.get("suspend")} == {"restore", "champions"}


def test_the_restoring_job_runs_what_the_cluster_has(stage: Callable[..., Path], kustomize: list[str]) -> None:
    overlay = stage() / "manifests" / "overlays" / "small"
    images = {
        (job["metadata"]["name"], container["image"])
        for job in build(kustomize, overlay)
        if job["kind"] == "CronJob"
        for _, container, _ in containers([job])
    }
    ours = script("kind/image-tag", "pipeline").stdout.strip()
    assert {("backup", ours), ("restore", ours), ("champions", ours)} <= images
