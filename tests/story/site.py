"""What the story needs of a place where models are served: who asks, returns outcomes, serves and counts."""

import json
import re
from dataclasses import dataclass, field
from datetime import date
from http.client import HTTPConnection
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.deployment.cluster import Cluster, Deployed
from tests.support import http
from tests.support.prometheus import wait_for

STICKY = "x-ward"
_SENT_AT_ONCE = 500


@dataclass
class Answered:
    """What a week's patients were told: whose answer each was, and its receipt."""

    versions: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)


class Site(Protocol):
    """A place, as those see it who ask, return outcomes and look."""

    cluster: Cluster
    # Addresses of Prometheus, of the service of outcomes, and of its database.
    prometheus: str
    outcomes_url: str
    database: str
    # What a request must say of the host that it is for.
    headers: dict[str, str]

    def connect(self) -> HTTPConnection:
        """Return a connection to the gateway."""

    def serve_champion(self, version: Deployed) -> None:
        """Serve a version as the deploy step does, and let it in."""

    def serve_challenger(self, version: Deployed) -> None:
        """Serve a version beside the champion as the deploy step does."""

    def champion_url(self) -> str:
        """Return where the champion's transformer will be once a rollout's challenger takes its place."""

    def wait_until_counted(self, service: str) -> None:
        """Wait until Prometheus has read all that a service's transformer has counted."""


def fetch(version: Deployed) -> Bundle:
    """Return a version's bundle."""
    return store.fetch(version.bundle, version.digest, settings().home / "cache")


def ask(connection: HTTPConnection, own: dict[str, str], model: str, patients: NDArray[np.float64]) -> Answered:
    """Ask for one patient after another [rows, features] through the gateway, each from a ward of its own.

    By its ward's number a caller stays with one version, and a version's share is what its weight says.
    """
    answered = Answered()
    for place, row in enumerate(patients.tolist()):
        headers = {"content-type": "application/json", STICKY: f"ward-{place * 71 % 256:02x}"}
        values = [None if value != value else value for value in row]  # noqa: PLR0124 - NaN
        tensor = {"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": values}
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}), headers | own)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        answered.versions.append(body["model_version"])
        answered.receipts.append(body["parameters"]["receipt"])
    return answered


def bring_back(url: str, receipts: list[str], outcomes: list[Any]) -> None:
    """Return outcomes to the service at an address, each with its receipt."""
    pairs = [{"receipt": one, "outcome": other} for one, other in zip(receipts, outcomes, strict=True)]
    for begin in range(0, len(pairs), _SENT_AT_ONCE):
        sent = pairs[begin : begin + _SENT_AT_ONCE]
        said = http.post(url, json={"outcomes": sent}).raise_for_status().json()
        assert said["counted"] == len(sent), said


def wait_until_read(prometheus: str, service: str, page: str) -> None:
    """Wait until a Prometheus has read what a transformer's page of metrics says of a service's requests."""
    for name in ("prediction_requests_total", "predictions_by_class_total"):
        counted = re.findall(rf"^{name}{{.*}} ([0-9.e+]+)$", page, re.MULTILINE)
        wait_for(prometheus, f'sum({name}{{model="{service}"}}) >= {sum(map(float, counted))}')


def let_a_week_pass(engine: sa.Engine, model: str, today: date, day: date) -> None:
    """Let what was counted today, of a model, have been counted on a day of the story."""
    update = "UPDATE outcome_counts SET month = :month, arrived = :day WHERE model = :model AND arrived >= :today"
    with engine.begin() as database:
        database.execute(sa.text(update), {"month": f"{day:%Y-%m}", "day": day, "model": model, "today": today})
