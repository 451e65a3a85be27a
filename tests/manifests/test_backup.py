"""The job that restores, and the one that backs up: the same folders, and the house's rules."""

import re
from collections.abc import Callable
from typing import Any

from tests.support.manifest_rules import Document, containers, pods

Render = Callable[..., list[Document]]


def test_what_one_job_writes_the_other_reads(render: Render) -> None:
    (job,) = render("../backup/restore")
    (saving,) = (one for one in render("small") if one["kind"] == "CronJob" and one["metadata"]["name"] == "backup")
    mounted = [
        {
            (container["name"], mount["name"], mount["mountPath"])
            for _, container, _ in containers([part])
            for mount in container["volumeMounts"]
        }
        for part in (saving, job)
    ]
    assert {("backup", "backups", "/backups"), ("dump", "dumps", "/dumps")} < mounted[0]
    assert {("objects", "backups", "/backups"), ("database", "dumps", "/dumps")} < mounted[1]
    ((_, writes),), ((_, reads),) = pods([saving]), pods([job])
    assert writes["volumes"] == reads["volumes"]
    assert writes["serviceAccountName"] == reads["serviceAccountName"]


def test_the_restoring_job_keeps_the_houses_rules(render: Render) -> None:
    (job,) = render("../backup/restore")
    for name, container, pod in containers([job]):
        assert re.search(r"@sha256:[0-9a-f]{64}$|^healthrisk/pipeline:", container["image"]), name
        own: dict[str, Any] = container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True), name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
