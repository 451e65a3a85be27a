"""The record of use as a cluster runs it: off until an overlay turns it on, by the two lines that the README shows."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from healthrisk.config import LEAST_KEY
from healthrisk.records import signature
from healthrisk.serving.headers import CALLER
from tests.support.manifest_rules import PARTS, ROOT, Document, build, containers, script

SERVERS = ("transformer", "explainer")


@pytest.fixture(scope="module", params=["small", "production"])
def turned_on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kustomize: list[str]
) -> tuple[list[Document], Document]:
    """An overlay's documents and its model's, with the record."""
    folder = tmp_path_factory.mktemp("recorded")
    for name in ("manifests", "kserve"):
        shutil.copytree(ROOT / name, folder / name)
    overlay = folder / "manifests" / "overlays" / request.param
    add(overlay, "../../records")
    add(overlay / "model", "../../../records/model")
    (model,) = (one for one in build(kustomize, overlay / "model") if one["kind"] == "InferenceService")
    return build(kustomize, overlay), model


def add(folder: Path, component: str) -> None:
    path = folder / "kustomization.yaml"
    document = yaml.safe_load(path.read_text())
    # Before the images, which pin what it names.
    document["components"] = [component, *document["components"]]
    path.write_text(yaml.safe_dump(document))


def test_it_is_off_until_it_is_turned_on(render: Callable[..., list[Document]]) -> None:
    for part in PARTS:
        assert "HEALTHRISK_RECORD" not in json.dumps(render(part)), part


def test_servers_write_where_the_job_reads(turned_on: tuple[list[Document], Document]) -> None:
    documents, model = turned_on
    (job,) = (one for one in documents if one["kind"] == "CronJob" and one["metadata"]["name"] == "records")
    ((_, carrier, pod),) = containers([job])
    (claim,) = (
        one for one in documents if one["kind"] == "PersistentVolumeClaim" and one["metadata"]["name"] == "records"
    )
    assert {"name": "records", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in pod["volumes"]
    for server in SERVERS:
        own = model["spec"][server]
        (container,) = own["containers"]
        assert {"name": "records", "persistentVolumeClaim": {"claimName": "records"}} in own["volumes"]
        assert {"name": "records", "mountPath": "/records"} in container["volumeMounts"]
        assert {"name": "HEALTHRISK_RECORDS", "value": "/records"} in container["env"]
        assert own["securityContext"]["fsGroup"] == pod["securityContext"]["fsGroup"]
    assert "--from=/records" in carrier["args"]
    assert {"name": "records", "mountPath": "/records"} in carrier["volumeMounts"]
    assert re.fullmatch(r"healthrisk/serving:python3\.11-[\d.]+", carrier["image"])
    assert "HEALTHRISK_RECORDS" not in json.dumps(model["spec"]["predictor"])


def keys_of(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return which key of which secret each variable of a container is."""
    return {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in container["env"]
        if "secretKeyRef" in one.get("valueFrom", {})
    }


def test_no_server_has_the_key_that_signs_and_the_carrier_has_no_other(
    turned_on: tuple[list[Document], Document],
) -> None:
    documents, model = turned_on
    (job,) = (one for one in documents if one["kind"] == "CronJob" and one["metadata"]["name"] == "records")
    ((_, carrier, _),) = containers([job])
    assert keys_of(carrier) == {"HEALTHRISK_RECORD_SIGNING_KEY": {"name": "records", "key": "signing-key"}}
    for server in SERVERS:
        (container,) = model["spec"][server]["containers"]
        assert keys_of(container)["HEALTHRISK_RECORD_KEY"] == {"name": "records", "key": "key"}
        assert "signing-key" not in json.dumps(model["spec"][server])


def test_containers_of_the_job_are_restricted(turned_on: tuple[list[Document], Document]) -> None:
    documents, _ = turned_on
    (job,) = (one for one in documents if one["kind"] == "CronJob" and one["metadata"]["name"] == "records")
    ((_, container, pod),) = containers([job])
    own = container["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for kind in ("requests", "limits"):
        assert set(container["resources"][kind]) == {"cpu", "memory"}


def test_there_is_room_for_its_claim(turned_on: tuple[list[Document], Document]) -> None:
    documents, _ = turned_on
    claims = sum(one["kind"] == "PersistentVolumeClaim" for one in documents)
    claims += sum(len(one["spec"].get("volumeClaimTemplates", ())) for one in documents if one["kind"] == "StatefulSet")
    (quota,) = (one for one in documents if one["kind"] == "ResourceQuota")
    assert claims <= int(quota["spec"]["hard"]["persistentvolumeclaims"])


def test_the_gateway_says_who_asks_and_nobody_else(render: Callable[..., list[Document]]) -> None:
    documents = render("production")
    (keys,) = (one for one in documents if one["kind"] == "SecurityPolicy")
    assert keys["spec"]["apiKeyAuth"]["forwardClientIDHeader"] == CALLER.decode()
    for overlay in ("kind", "production"):
        (clients,) = (one for one in render(overlay) if one["kind"] == "ClientTrafficPolicy")
        assert clients["spec"]["headers"]["earlyRequestHeaders"]["remove"] == [CALLER.decode()]


def test_the_secret_that_is_made_holds_keys_that_are_taken() -> None:
    """By the very words of the script, run here."""
    text = (ROOT / "manifests" / "secrets").read_text()
    (function,) = re.findall(r"^random\(\) .*$", text, re.MULTILINE)
    (key, signing) = re.findall(r'^secret healthrisk records "key=(.*?)" "signing-key=(.*?)"$', text, re.MULTILINE)[0]
    done = script("bash", "-c", f"{function}\nprintf '%s %s' {key} {signing}")
    made = done.stdout.split(" ")
    assert len(made[0]) >= LEAST_KEY
    assert isinstance(signature.signing_key(made[1]), Ed25519PrivateKey)
