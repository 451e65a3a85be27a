"""The service that takes outcomes, as a process, and outcomes to send it."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import Scorer
from healthrisk.receipts.token import Issuer
from tests.support import sample_bundle
from tests.support.patience import ANSWER
from tests.support.servers import Server

KEY = "the servers' key, of 32 letters or more".replace(" ", "-")


def outcomes_of(bundle: Bundle, seed: int = 7) -> list[dict[str, Any]]:
    """Return a receipt and the true outcome of every row that a bundle was made from."""
    matrix, y = sample_bundle.rows_of(bundle.spec, seed)
    texts = Issuer(bundle, KEY.encode()).issue(matrix, Scorer(bundle).probabilities(matrix))
    classes = bundle.spec.target.classes
    return [{"receipt": text, "outcome": classes[place].raw[-1]} for text, place in zip(texts, y.tolist(), strict=True)]


def link_bundle(home: Path, bundle: Bundle) -> Path:
    """Put a bundle where a platform's home keeps it."""
    link = home / "bundles" / bundle.spec.name / bundle.digest
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(bundle.path)
    return link


@dataclass
class OutcomeService(Server):
    """The service; `bundle` is the home of its platform."""

    imported = ("healthrisk.monitoring.outcome_service",)

    @property
    def outcomes_url(self) -> str:
        return f"{self.url}/v1/outcomes"

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "healthrisk", self.script, "--host=127.0.0.1", "--drain_seconds=0"]
        command += [f"--request_seconds={ANSWER:g}", f"--answer_seconds={ANSWER:g}"]
        return [*command, f"--http_port={self.ports[0]}", f"--metrics_port={self.ports[2]}", *self.options]


@pytest.fixture
def start_outcomes(tmp_path: Path) -> Iterator[Callable[..., OutcomeService]]:
    """Return a starter of the service on a database's address, beside the bundles of this test."""
    started: list[OutcomeService] = []

    def start(address: str, *bundles: Bundle, options: tuple[str, ...] = ()) -> OutcomeService:
        for bundle in bundles:
            link_bundle(tmp_path, bundle)
        own = {"HEALTHRISK_HOME": str(tmp_path), "HEALTHRISK_OUTCOMES": address, "HEALTHRISK_RECEIPT_KEY": KEY}
        service = OutcomeService("outcome-service", tmp_path, tmp_path / "service.log", options, os.environ | own)
        started.append(service.fork())
        service.wait()
        return service

    yield start
    for service in started:
        service.end()
