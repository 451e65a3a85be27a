"""What is kept where: every store of the manifests has its purpose, time and lock, and a new one must say its own."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.manifest_rules import ROOT, Document, build

_PLACE = importlib.util.spec_from_file_location("kept", ROOT / "manifests" / "kept.py")
assert _PLACE
assert _PLACE.loader
kept = importlib.util.module_from_spec(_PLACE)
_PLACE.loader.exec_module(kept)


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / "manifests" / "kept.yaml").read_text())
    return described


@pytest.fixture(scope="module")
def overlays(kustomize: list[str]) -> dict[str, list[Document]]:
    return {overlay: kept.rendered(overlay) for overlay in kept.OVERLAYS}


def test_the_page_s_table_is_what_the_manifests_say(overlays: dict[str, list[Document]], said: dict[str, Any]) -> None:
    page = kept.PAGE.read_text()
    made = kept.table(overlays, said)
    assert kept.page(page, made) == page, "run `make data-table`"
    assert "{" not in made, "an option that was not looked up"


def test_how_long_follows_the_manifests(overlays: dict[str, list[Document]], said: dict[str, Any]) -> None:
    text = json.dumps(overlays)
    for here, other in (("-retentionPeriod=14d", "-retentionPeriod=9d"), ("spans: 72h", "spans: 9h")):
        assert here in text
        text = text.replace(here, other)
    made = kept.table(json.loads(text), said)
    assert "| 9d, at most 4GB |" in made
    assert "| 9h |" in made


def test_an_option_that_no_manifest_has_is_named(overlays: dict[str, list[Document]], said: dict[str, Any]) -> None:
    jaeger = {**said["claims"]["jaeger"], "kept": "{ConfigMap/jaeger traced}"}
    with pytest.raises(kept.UnknownStoreError, match=r"^ConfigMap/jaeger has no one traced: \[\]$"):
        kept.table(overlays, {**said, "claims": {**said["claims"], "jaeger": jaeger}})


def test_every_store_says_what_for_whose_and_how_long(said: dict[str, Any]) -> None:
    for kind, stores in said.items():
        for name, entry in stores.items():
            assert set(entry) == {"purpose", "patients", "kept"}, f"{kind}/{name}"
            assert all(entry.values()), f"{kind}/{name}"


NEW = {
    "claims/spool": {"kind": "PersistentVolumeClaim", "metadata": {"name": "spool"}, "spec": {}},
    "claims/data-queue": {
        "kind": "StatefulSet",
        "metadata": {"name": "queue"},
        "spec": {
            "template": {"spec": {"containers": []}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        },
    },
    "buckets/exports": {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"TO": "s3://exports"}},
    "databases/other/people": {
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"DB": "postgresql://u:p@other/people"},
    },
}


@pytest.mark.parametrize("name", NEW)
def test_a_store_that_nobody_described_is_named(
    name: str, overlays: dict[str, list[Document]], said: dict[str, Any]
) -> None:
    with pytest.raises(kept.UnknownStoreError, match=f"^{name} is not in kept.yaml$"):
        kept.table({**overlays, "kind": [*overlays["kind"], NEW[name]]}, said)


def test_a_description_of_no_store_is_named(overlays: dict[str, list[Document]], said: dict[str, Any]) -> None:
    claims = {**said["claims"], "gone": {"purpose": "x", "patients": "x", "kept": "x"}}
    with pytest.raises(kept.UnknownStoreError, match=r"^claims/gone is in no manifest$"):
        kept.table(overlays, {**said, "claims": claims})


def test_with_the_component_every_claim_has_a_class_that_encrypts(
    kustomize: list[str], tmp_path: Path, render: Callable[..., list[Document]]
) -> None:
    for part in ("manifests", "kserve"):
        shutil.copytree(ROOT / part, tmp_path / part)
    overlay = tmp_path / "manifests" / "overlays" / "production"
    asked = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    asked["components"].append("../../encrypted")
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(asked))
    stores = kept.stores(build(kustomize, overlay))
    claims = {name: claim for (kind, name), claim in stores.items() if kind == "claims"}
    assert {claim["storageClassName"] for claim in claims.values()} == {"encrypted"}
    assert set(claims) == {name for kind, name in kept.stores(render("production")) if kind == "claims"}


MLFLOW_ASKS = '{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "theirs"}'


@pytest.mark.parametrize(
    ("variable", "given", "shown", "buckets"),
    [
        ("HEALTHRISK_S3_ENCRYPTION", "aws:kms:ours", "aws:kms:ours", {"healthrisk/bundles", "healthrisk/records"}),
        ("MLFLOW_S3_UPLOAD_EXTRA_ARGS", MLFLOW_ASKS, "aws:kms:theirs", {"mlflow"}),
    ],
)
def test_encryption_that_uploads_ask_for_is_shown(
    variable: str, given: str, shown: str, buckets: set[str], overlays: dict[str, list[Document]], said: dict[str, Any]
) -> None:
    asking = json.loads(json.dumps(overlays))
    for one in asking["production"]:
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "healthrisk"):
            one["data"][variable] = given
    rows = [row for row in kept.table(asking, said).splitlines() if f"every upload asks for `{shown}` |" in row]
    assert {row.split("`")[1] for row in rows} == buckets


def test_the_registry_s_server_is_told_how_to_ask(overlays: dict[str, list[Document]]) -> None:
    name = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"
    for documents in overlays.values():
        (server,) = (one for one in documents if (one["kind"], one["metadata"]["name"]) == ("Deployment", "mlflow"))
        given = {one["name"]: one for one in server["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert given[name]["valueFrom"]["configMapKeyRef"] == {"name": "healthrisk", "key": name, "optional": True}
