"""One machine as a site: servers, a real Envoy as the gateway, the service of outcomes, a real Prometheus.

The cluster is in memory; what it is told to serve is served by real processes, and Envoy leads requests there.
"""

import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.deployment.cluster import Deployed
from healthrisk.monitoring import trial_status
from healthrisk.monitoring.trial_status import TrialStatus
from tests.story.world import NAME
from tests.support import http
from tests.support.dashboard import recording_rules
from tests.support.envoy import ProxiedCluster, backends, envoy
from tests.support.outcomes import KEY, OutcomeService
from tests.support.patience import ANSWER, until
from tests.support.prometheus import prometheus, wait_for
from tests.support.servers import PATIENT, ROOT, Pair, Server, free_ports
from tests.support.twin_cluster import TwinCluster
from tests.support.two_versions import start

STICKY = "x-ward"
NOBODY = "http://127.0.0.1:9"
# A champion, its challenger, and the servers that take the champion's place; and a champion's own with a silent trial.
_SLOTS = 4
_ALERTS = ROOT / "manifests" / "prometheus" / "alerts.yaml"
_SENT_AT_ONCE = 500


@dataclass
class OneMachine(ProxiedCluster):
    """A cluster whose inference services are processes of this machine."""

    folder: Path = Path()
    slots: list[list[int]] = field(default_factory=list)
    running: dict[str, Pair] = field(default_factory=dict)
    coming: dict[str, Pair] = field(default_factory=dict)

    def apply(self, name: str, version: Deployed, previous: Deployed | None) -> None:
        TwinCluster.apply(self, name, version, previous)
        if name not in self.running or self.running[name].bundle.digest != version.digest:
            log = self.folder / f"{name}-{version.number}"
            bundle = fetch(version)
            # A challenger's answers are compared with the champion's.
            champion = self.running.get(NAME) if name != NAME else None
            self.coming[name] = start(bundle, name, log, self.slots.pop(0), champion, HEALTHRISK_RECEIPT_KEY=KEY)

    def wait(self, name: str, version: Deployed, seconds: float) -> None:
        TwinCluster.wait(self, name, version, seconds)
        if pair := self.coming.pop(name, None):
            before, self.running[name] = self.running.get(name), pair.wait()
            self.lead(name, pair.transformer)
            if before:
                before.end()

    def delete(self, name: str) -> None:
        super().delete(name)
        self.running.pop(name).end()

    def lead(self, name: str, transformer: Server) -> None:
        """Let requests for a service go to a transformer, once Envoy knows of it."""
        self._envoy().lead(f"{name}-transformer", transformer.url)
        until(lambda: self._envoy().knows(f"{name}-transformer"))

    def next_url(self) -> str:
        """Return where the transformer of the next pair will be."""
        return f"http://127.0.0.1:{self.slots[0][0]}"

    def end(self) -> None:
        """End every process."""
        for pair in (*self.running.values(), *self.coming.values()):
            pair.end()


@dataclass
class Answered:
    """What a week's patients were told: whose answer each was, and its receipt."""

    versions: list[str]
    receipts: list[str]


@dataclass
class Site:
    """The machine, as those see it who ask, return outcomes and look."""

    cluster: OneMachine
    outcomes: OutcomeService
    prometheus: str
    database: Path

    def ask(self, patients: NDArray[np.float64]) -> Answered:
        """Ask for one patient after another [rows, features] through the gateway, each from a ward of its own.

        By its ward's number a caller stays with one version, and a version's share is what its weight says.
        """
        assert self.cluster.proxy is not None
        answered = Answered([], [])
        with closing(HTTPConnection("127.0.0.1", self.cluster.proxy.port, timeout=ANSWER)) as connection:
            for place, row in enumerate(patients.tolist()):
                headers = {"content-type": "application/json", STICKY: f"ward-{place * 71 % 256:02x}"}
                values = [None if value != value else value for value in row]  # noqa: PLR0124 - NaN
                tensor = {"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": values}
                connection.request("POST", f"/v2/models/{NAME}/infer", json.dumps({"inputs": [tensor]}), headers)
                answer = connection.getresponse()
                body = json.loads(answer.read())
                assert answer.status == 200, body
                answered.versions.append(body["model_version"])
                answered.receipts.append(body["parameters"]["receipt"])
        return answered

    def bring_back(self, receipts: list[str], outcomes: list[Any]) -> None:
        """Return outcomes to the service, each with its receipt."""
        pairs = [{"receipt": one, "outcome": other} for one, other in zip(receipts, outcomes, strict=True)]
        for begin in range(0, len(pairs), _SENT_AT_ONCE):
            sent = pairs[begin : begin + _SENT_AT_ONCE]
            said = http.post(self.outcomes.outcomes_url, json={"outcomes": sent}).raise_for_status().json()
            assert said["counted"] == len(sent), said

    def wait_until_counted(self, service: str) -> None:
        """Wait until Prometheus has read all that a service's transformer has counted."""
        page = http.get(self.cluster.running[service].transformer.metrics).text
        for name in ("prediction_requests_total", "predictions_by_class_total"):
            counted = re.findall(rf"^{name}{{.*}} ([0-9.e+]+)$", page, re.MULTILINE)
            wait_for(self.prometheus, f'sum({name}{{model="{service}"}}) >= {sum(map(float, counted))}')

    def date(self, day: date) -> None:
        """Let a week pass: what was counted today was counted on a day of the story."""
        with closing(sqlite3.connect(self.database, timeout=ANSWER)) as database, database:
            today = "arrived >= date('now', '-2 days')"
            database.execute(
                f"UPDATE outcome_counts SET month = ?, arrived = ? WHERE {today}", (f"{day:%Y-%m}", f"{day}")
            )

    @contextmanager
    def trial(self, challenger: Bundle, rows: int) -> Iterator[list[TrialStatus]]:
        """Try a version in silence on so many rows, as `make serve --challenger` does; fill the list at the end."""
        champion = self.cluster.running[NAME]
        log, found = self.cluster.folder, list[TrialStatus]()
        predictor = Server("predictor.py", challenger.path, log / "tried-predictor", PATIENT).fork()
        options = (f"--predictor_host=127.0.0.1:{champion.predictor.ports[0]}", *PATIENT)
        options += (f"--compared_bundle={challenger.path}", f"--compared_host=127.0.0.1:{predictor.ports[0]}")
        environment = {"HEALTHRISK_RECEIPT_KEY": KEY}
        slot = self.cluster.slots.pop(0)
        transformer = Server("transformer.py", champion.bundle.path, log / "trying", options, environment, slot).fork()
        try:
            predictor.wait()
            self.cluster.lead(NAME, transformer.wait())
            yield found
            found.append(until(lambda: _whole(transformer, rows)))
            self.cluster.lead(NAME, champion.transformer)
        finally:
            transformer.end(signal.SIGTERM)
            predictor.end()


def _whole(transformer: Server, rows: int) -> TrialStatus | None:
    """Return how a trial went, once all its rows have gone to the challenger, which is behind the answers."""
    (status,) = trial_status.read([transformer.metrics]).trials
    return status if status.compared + status.failed + status.dropped == rows else None


def _page(ports: list[int], component: str) -> dict[str, Any]:
    """Return a server's page of metrics, with the labels that the cluster's Prometheus gives it."""
    labels = {"service": NAME, "component": component, "pod": f"{component}-{ports[2]}"}
    return {"targets": [f"127.0.0.1:{ports[2]}"], "labels": labels}


def _rules() -> str:
    """Return the alerts, and with short windows what the dashboard shows."""
    texts = (_ALERTS.read_text(), recording_rules())
    return json.dumps({"groups": [group for text in texts for group in yaml.safe_load(text)["groups"]]})


def fetch(version: Deployed) -> Bundle:
    """Return a version's bundle."""
    return store.fetch(version.bundle, version.digest, settings().home / "cache")


@contextmanager
def opened(home: Path) -> Iterator[Site]:
    """Run a site in which nothing is served yet; `home` is its HEALTHRISK_HOME."""
    folder = home / "site"
    for name in ("envoy", "prometheus"):
        (folder / name).mkdir(parents=True)
    database = home / "outcomes.db"
    own = {"HEALTHRISK_HOME": str(home), "HEALTHRISK_OUTCOMES": f"sqlite:///{database}", "HEALTHRISK_RECEIPT_KEY": KEY}
    service = OutcomeService(
        "outcome-service", home, folder / "outcomes.log", ("--assess_seconds=4",), os.environ | own
    )
    slots = [free_ports(3) for _ in range(_SLOTS)]
    pages = [_page(service.ports, "outcomes"), *(_page(ports, "transformer") for ports in slots)]
    try:
        with (
            envoy(folder / "envoy", backends(NAME, NOBODY, NOBODY)) as proxy,
            prometheus(folder / "prometheus", pages, _rules(), job="model-servers") as url,
        ):
            cluster = OneMachine(proxy=proxy, folder=folder, slots=slots)
            service.options += (f"--prometheus={url}",)
            service.fork()
            try:
                service.wait()
                yield Site(cluster, service, url, database)
            finally:
                cluster.end()
    finally:
        service.end()
