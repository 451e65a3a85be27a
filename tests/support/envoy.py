"""A real Envoy, and a cluster in memory whose way in it is: each backend leads to servers on this machine."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from healthrisk.deployment.cluster import Deployed, challenger_name
from healthrisk.deployment.kubernetes_cluster import in_likeness
from healthrisk.deployment.rollout_plan import Rollout
from healthrisk.deployment.weighted_route import weighted
from tests.support import http
from tests.support.patience import ANSWER, until
from tests.support.servers import ROOT, free_ports
from tests.support.twin_cluster import TwinCluster

BINARY = ROOT / ".tools" / "envoy" / "bin" / "envoy"
TEMPLATE = ROOT / "manifests" / "gateway" / "route" / "http-route.yaml"
_TYPES = "type.googleapis.com/envoy."
_HTTP = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
Document = dict[str, Any]
Rank = tuple[bool, int, bool, int]


@dataclass
class Envoy:
    """One proxy. What it does is in files, each of which it reads anew as soon as another takes its place."""

    folder: Path
    port: int
    admin: int
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def share(self, route: Document) -> None:
        """Route as an HTTPRoute says, once Envoy has taken it in."""
        self.serve(routes(route))

    def serve(self, made: list[Document]) -> None:
        """Route by Envoy's own routes, once it has taken them in."""
        virtual = {"name": "model", "domains": ["*"], "routes": made}
        self._write(
            "routes", f"{_TYPES}config.route.v3.RouteConfiguration", {"name": "routes", "virtual_hosts": [virtual]}
        )

    def lead(self, backend: str, url: str | None) -> None:
        """Let a backend lead to the server at an address, or to none."""
        host, _, port = (url or "").removeprefix("http://").partition(":")
        address = {"socket_address": {"address": host, "port_value": int(port or 0)}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}] if url else []
        loads = {"cluster_name": backend, "endpoints": endpoints}
        self._write(backend, f"{_TYPES}config.endpoint.v3.ClusterLoadAssignment", loads)

    def knows(self, name: str) -> bool:
        """Whether it works by the newest version of a file."""
        what = "http.in.rds.routes" if name == "routes" else f"cluster.{name}"
        try:
            stats = http.get(f"http://127.0.0.1:{self.admin}/stats?type=TextReadouts&format=json").json()["stats"]
        except (httpx.TransportError, ValueError):
            return False
        return {"name": f"{what}.version_text", "value": str(self.versions[name])} in stats

    def _write(self, name: str, kind: str, document: Document) -> None:
        self.versions[name] = self.versions.get(name, 0) + 1
        response = {"version_info": str(self.versions[name]), "resources": [{"@type": kind, **document}]}
        (self.folder / "new").write_text(json.dumps(response))
        (self.folder / "new").replace(self.folder / f"{name}.json")


@contextmanager
def envoy(folder: Path, backends: dict[str, str], filters: Sequence[Document] = ()) -> Iterator[Envoy]:
    """Run an Envoy whose backends lead to these addresses, with filters before its router; it has no route yet."""
    if not BINARY.exists():
        pytest.skip("there is no Envoy here: make test-tools")
    proxy = Envoy(folder, *free_ports(2))
    for name, url in backends.items():
        proxy.lead(name, url)
    proxy.share({"spec": {"rules": []}})
    (folder / "bootstrap.json").write_text(json.dumps(_bootstrap(proxy, list(backends), filters)))
    command = [BINARY, "--config-path", folder / "bootstrap.json", "--log-level", "warning", "--concurrency", "1"]
    command += ["--disable-hot-restart", "--log-path", folder / "log"]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            until(lambda: process.poll() is not None or all(map(proxy.knows, proxy.versions)))
            assert process.poll() is None, (folder / "log").read_text()
            yield proxy
        finally:
            process.terminate()
            process.wait(ANSWER)


def routes(route: Document) -> list[Document]:
    """Return what an HTTPRoute's rules are to Envoy, in the order that Gateway API gives them."""
    return [one for _, one in sorted(ranked(route), key=lambda pair: pair[0])]


def ranked(route: Document) -> list[tuple[Rank, Document]]:
    """Return what an HTTPRoute's rules are to Envoy, each with its rank among those of all routes."""
    return [
        (_rank(match), {"match": _match(match), "route": _route(rule)})
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    ]


def _rank(match: Document) -> Rank:
    """An exact path first, then the longer prefix, a method, then who asks for more headers; of equals the first."""
    path = match["path"]
    return path["type"] != "Exact", -len(path["value"]), "method" not in match, -len(match.get("headers", []))


def _match(match: Document) -> Document:
    path, headers = match["path"], [_header(header) for header in match.get("headers", [])]
    if method := match.get("method"):
        headers.append(_header({"name": ":method", "type": "Exact", "value": method}))
    kind = "path" if path["type"] == "Exact" else "prefix" if path["value"] == "/" else "path_separated_prefix"
    return {kind: path["value"], "headers": headers}


def _header(header: Document) -> Document:
    value = (
        {"safe_regex": {"regex": header["value"]}}
        if header["type"] == "RegularExpression"
        else {"exact": header["value"]}
    )
    return {"name": header["name"], "string_match": value}


def _route(rule: Document) -> Document:
    shares = [{"name": one["name"], "weight": one.get("weight", 1)} for one in rule["backendRefs"]]
    mirrors = [one["requestMirror"]["backendRef"]["name"] for one in rule.get("filters", [])]
    return {
        "weighted_clusters": {"clusters": shares},
        "request_mirror_policies": [{"cluster": name} for name in mirrors],
        "timeout": f"{ANSWER:g}s",
    }


def _bootstrap(proxy: Envoy, backends: list[str], filters: Sequence[Document]) -> Document:
    def file(name: str) -> Document:
        path = {"path": str(proxy.folder / f"{name}.json"), "watched_directory": {"path": str(proxy.folder)}}
        return {"resource_api_version": "V3", "path_config_source": path}

    def address(port: int) -> Document:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    router = {"name": "router", "typed_config": {"@type": f"{_TYPES}extensions.filters.http.router.v3.Router"}}
    manager = {"stat_prefix": "in", "rds": {"route_config_name": "routes", "config_source": file("routes")}}
    config = {"@type": f"{_TYPES}{_HTTP}", **manager, "http_filters": [*filters, router]}
    listener = {"name": "http", "address": address(proxy.port)}
    clusters = [
        {
            "name": name,
            "type": "EDS",
            "connect_timeout": f"{ANSWER:g}s",
            "eds_cluster_config": {"eds_config": file(name)},
        }
        for name in backends
    ]
    return {
        "node": {"id": "tests", "cluster": "tests"},
        "admin": {"address": address(proxy.admin)},
        "static_resources": {
            "listeners": [{**listener, "filter_chains": [{"filters": [{"name": "http", "typed_config": config}]}]}],
            "clusters": clusters,
        },
    }


@dataclass
class ProxiedCluster(TwinCluster):
    """A cluster in memory whose model's way in is an Envoy's: of REST, to servers known by their version's digest."""

    proxy: Envoy | None = None
    servers: dict[str, str] = field(default_factory=dict)

    def apply(self, name: str, version: Deployed, previous: Deployed | None) -> None:
        super().apply(name, version, previous)
        self._envoy().lead(f"{name}-transformer", self.servers[version.digest])

    def delete(self, name: str) -> None:
        super().delete(name)
        self._envoy().lead(f"{name}-transformer", None)

    def open_route(self, name: str) -> None:
        super().open_route(name)
        self._envoy().share(_template(name))

    def share(self, name: str, before: Rollout | None, rollout: Rollout) -> None:
        super().share(name, before, rollout)
        self._envoy().share(weighted(_template(name), _template(challenger_name(name)), rollout))

    def wait_routed(self, name: str, seconds: float) -> None:
        until(lambda: self._envoy().knows("routes"))

    def wait(self, name: str, version: Deployed, seconds: float) -> None:
        super().wait(name, version, seconds)
        until(lambda: self._envoy().knows(f"{name}-transformer"))

    def _envoy(self) -> Envoy:
        assert self.proxy is not None
        return self.proxy


def _template(name: str) -> Document:
    (route,) = in_likeness(TEMPLATE.read_text(), name, "healthrisk")
    return route


def backends(model: str, champion: str, challenger: str) -> dict[str, str]:
    """Return where each backend of a model's routes leads: of REST to these addresses, of all else to nobody's."""
    servers = {f"{model}-transformer": champion, f"{challenger_name(model)}-transformer": challenger}
    rules = [rule for name in (model, challenger_name(model)) for rule in _template(name)["spec"]["rules"]]
    names = {backend["name"] for rule in rules for backend in rule["backendRefs"]}
    return {name: servers.get(name, "http://127.0.0.1:9") for name in sorted(names)}
