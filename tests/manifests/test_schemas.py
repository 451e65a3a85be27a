"""Every rendered document keeps the schema of its kind, unlisted fields included."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support.manifest_rules import OVERLAYS, PARTS

SCHEMAS = Path(__file__).parent / "schemas"
# Kinds whose schemas are no one's but their projects'; the end-to-end test applies them.
UNCHECKED = {"cert-manager.io/v1", "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"}
KSERVE = {"serving.kserve.io/v1beta1": "InferenceService", "serving.kserve.io/v1alpha1": "ServingRuntime"}


def _errors(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    validator = jsonschema_rs.Draft4Validator(schema)
    return [f"{error.instance_path}: {error.message[:200]}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("part", OVERLAYS)
def test_kubernetes_kinds(part: str, render: Callable[..., list[Any]], kubernetes_schemas: dict[Any, Any]) -> None:
    for document in render(part):
        version, kind = document["apiVersion"], document["kind"]
        if version in UNCHECKED | set(KSERVE):
            continue
        assert _errors(kubernetes_schemas[version, kind], document) == [], (kind, document["metadata"]["name"])


def test_a_misspelt_field_is_found(render: Callable[..., list[Any]], kubernetes_schemas: dict[Any, Any]) -> None:
    deployment = next(copy.deepcopy(one) for one in render("small") if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagepullpolicy"] = "Always"
    (error,) = _errors(kubernetes_schemas["apps/v1", "Deployment"], deployment)
    assert "imagepullpolicy" in error


@pytest.mark.parametrize("part", PARTS)
def test_kserve_kinds(part: str, render: Callable[..., list[Any]], kserve_schemas: dict[str, Any]) -> None:
    documents = [one for one in render(part) if one["apiVersion"] in KSERVE]
    assert documents
    for document in documents:
        assert KSERVE[document["apiVersion"]] == document["kind"]
        assert _errors(kserve_schemas[document["kind"]], document) == []


def test_a_misspelt_field_of_kserve_is_found(render: Callable[..., list[Any]], kserve_schemas: dict[str, Any]) -> None:
    (service,) = (copy.deepcopy(one) for one in render("small/model") if one["kind"] == "InferenceService")
    service["spec"]["transformer"]["containers"][0]["securityContext"]["runAsNonroot"] = True
    (error,) = _errors(kserve_schemas["InferenceService"], service)
    assert "runAsNonroot" in error


@pytest.fixture(scope="module")
def kserve_schemas(versions: dict[str, str]) -> dict[str, Any]:
    """KServe's schemas by kind, which are of the version that the cluster runs."""
    schemas = {kind: json.loads((SCHEMAS / f"{kind.lower()}.json").read_text()) for kind in KSERVE.values()}
    for schema in schemas.values():
        assert schema["$comment"].endswith(f" of KServe {versions['KSERVE_VERSION']}"), (
            "run tests/manifests/schemas/cut"
        )
    return schemas
