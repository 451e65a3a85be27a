"""A cluster in memory: what deploying asks of a real one, and versions that never come up."""

from dataclasses import dataclass, field

from healthrisk.deployment.cluster import ClusterError, Deployed


@dataclass
class TwinCluster:
    """Inference services by name: the version that serves, and the one before; names that have a way in."""

    services: dict[str, tuple[Deployed, Deployed | None]] = field(default_factory=dict)
    routes: set[str] = field(default_factory=set)
    # Versions whose pods never come up, by number; and what was applied, in order.
    broken: set[str] = field(default_factory=set)
    applied: list[tuple[str, str]] = field(default_factory=list)

    def deployed(self, name: str) -> Deployed | None:
        return self.services[name][0] if name in self.services else None

    def previous(self, name: str) -> Deployed | None:
        return self.services[name][1] if name in self.services else None

    def apply(self, name: str, version: Deployed, previous: Deployed | None) -> None:
        # As an apply does: an annotation that is not sent is taken away.
        self.services[name] = version, previous
        self.applied.append((name, version.number))

    def wait(self, name: str, version: Deployed, seconds: float) -> None:
        if self.deployed(name) != version:
            raise ClusterError(
                f"{name} was not ready within {seconds:.0f} s: the predictor is still of another version"
            )
        if version.number in self.broken:
            raise ClusterError(f"{name} was not ready within {seconds:.0f} s: 0 of 1 replicas are available")

    def open_route(self, name: str) -> None:
        if name not in self.services:
            raise ClusterError(f"HTTPRoute {name!r} leads to nothing")
        self.routes.add(name)

    def delete(self, name: str) -> None:
        self.services.pop(name, None)
        self.routes.discard(name)
