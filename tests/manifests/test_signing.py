"""The register step alone signs bundles; whoever opens one has the public key, and no server the private one."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from healthrisk.bundle import signing_keys
from healthrisk.bundle.signing_keys import PUBLIC_KEY, SIGNING_KEY
from tests.support.launcher import PLATFORM
from tests.support.manifest_rules import ROOT, Document, containers, script

BELIEVED = {"name": PUBLIC_KEY, "valueFrom": {"configMapKeyRef": {"name": "bundle-keys", "key": "public.pem"}}}
BELIEVED["valueFrom"]["configMapKeyRef"]["optional"] = True


@pytest.mark.parametrize("part", ["small", "production"])
def test_who_opens_a_bundle_knows_whom_to_believe_and_signs_none(
    part: str, render: Callable[..., list[Document]]
) -> None:
    """Those are the containers that are told where bundles lie, and those that are given one."""
    opens = set()
    for _, container, _pod in containers([*render(part), *render(f"{part}/model")]):
        words = json.dumps(container)
        if "--bundle=" in words or "$(BUNDLE)" in words or re.search(r'"healthrisk", "(watch|outcome-service)"', words):
            opens.add(container["name"])
            assert BELIEVED in container["env"], container["name"]
        assert SIGNING_KEY not in words
        assert "bundle-signing" not in words
    assert {"storage-initializer", "kserve-container"} <= opens
    assert len(opens) >= 4, opens


def test_one_step_alone_signs_and_every_step_knows_whom_to_believe() -> None:
    tasks: dict[str, Any] = PLATFORM["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    signing = {name for name, task in tasks.items() if "bundle-signing" in json.dumps(task)}
    believing = {name for name, task in tasks.items() if PUBLIC_KEY in json.dumps(task)}
    assert signing == {"exec-register"}
    assert believing == tasks.keys()


def test_the_keys_that_are_made_are_taken() -> None:
    """By the very words of the script, run here."""
    text = (ROOT / "manifests" / "secrets").read_text()
    (make,) = re.findall(r"signing=\$\((openssl .*)\)$", text, re.MULTILINE)
    (derive,) = re.findall(r"\| (openssl pkey .*)\)$", text, re.MULTILINE)
    private = script("bash", "-c", make).stdout
    public = script("bash", "-c", f"printf '%s\n' \"$0\" | {derive}", private).stdout
    (key,) = signing_keys.public_keys(public)
    assert signing_keys.fingerprint_of(signing_keys.private_key(private)) == key
