"""One machine as a site: servers, a real Envoy as the gateway, the service of outcomes, a real Prometheus.

The cluster is in memory; what it is told to serve is served by real processes, and Envoy leads requests there.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import yaml

from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Deployed
from tests.story.site import fetch, wait_until_read
from tests.story.world import NAME
from tests.support import http
from tests.support.dashboard import recording_rules
from tests.support.envoy import ProxiedCluster, backends, envoy
from tests.support.outcomes import KEY, OutcomeService
from tests.support.patience import ANSWER, until
from tests.support.prometheus import prometheus
from tests.support.servers import ROOT, Pair, Server, free_ports
from tests.support.twin_cluster import TwinCluster
from tests.support.two_versions import start

WHERE = "real servers, a real Envoy and Prometheus, on one machine"
NOBODY = "http://127.0.0.1:9"
# A champion, its challenger, and the servers that take the champion's place.
_SLOTS = 3
_ALERTS = ROOT / "manifests" / "prometheus" / "alerts.yaml"


@dataclass
class Processes(ProxiedCluster):
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
class OneMachine:
    """The machine, as those see it who ask, return outcomes and look."""

    cluster: Processes
    prometheus: str
    outcomes_url: str
    database: str
    headers: dict[str, str] = field(default_factory=dict)

    def connect(self) -> HTTPConnection:
        """Return a connection to Envoy."""
        assert self.cluster.proxy is not None
        return HTTPConnection("127.0.0.1", self.cluster.proxy.port, timeout=ANSWER)

    def serve_champion(self, version: Deployed) -> None:
        """Serve a version as the deploy step does, and let it in."""
        deploy.champion(self.cluster, fetch(version), version, self.champion_url())
        self.cluster.wait_routed(NAME, ANSWER)

    def serve_challenger(self, version: Deployed) -> None:
        """Serve a version beside the champion as the deploy step does."""
        urls = {"champion": self.cluster.running[NAME].transformer.url, "challenger": self.cluster.next_url()}
        deploy.challenger(self.cluster, fetch(version), version, urls)

    def champion_url(self) -> str:
        """Return where the transformer of the next pair will be."""
        return self.cluster.next_url()

    def wait_until_counted(self, service: str) -> None:
        """Wait until Prometheus has read all that a service's transformer has counted."""
        wait_until_read(self.prometheus, service, http.get(self.cluster.running[service].transformer.metrics).text)


def _page(ports: list[int], component: str) -> dict[str, Any]:
    """Return a server's page of metrics, with the labels that the cluster's Prometheus gives it."""
    labels = {"service": NAME, "component": component, "pod": f"{component}-{ports[2]}"}
    return {"targets": [f"127.0.0.1:{ports[2]}"], "labels": labels}


def _rules() -> str:
    """Return the alerts, and with short windows what the dashboard shows."""
    texts = (_ALERTS.read_text(), recording_rules())
    return json.dumps({"groups": [group for text in texts for group in yaml.safe_load(text)["groups"]]})


@contextmanager
def opened(home: Path) -> Iterator[OneMachine]:
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
            cluster = Processes(proxy=proxy, folder=folder, slots=slots)
            service.options += (f"--prometheus={url}",)
            service.fork()
            try:
                service.wait()
                yield OneMachine(cluster, url, service.outcomes_url, f"sqlite:///{database}")
            finally:
                cluster.end()
    finally:
        service.end()
