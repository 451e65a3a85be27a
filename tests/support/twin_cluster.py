"""A cluster in memory: what deploying asks of a real one, and versions that never come up."""

from dataclasses import dataclass, field

from healthrisk.deployment.cluster import ClusterError, Deployed, RolloutMovedError, challenger_name
from healthrisk.deployment.rollout_plan import Rollout


class Killed(BaseException):
    """The process ended before its next write."""


@dataclass
class TwinCluster:
    """Inference services by name: the version that serves, and the one before; names that have a way in, and how."""

    services: dict[str, tuple[Deployed, Deployed | None]] = field(default_factory=dict)
    routes: set[str] = field(default_factory=set)
    # Versions whose pods never come up, by number; and what was applied, in order.
    broken: set[str] = field(default_factory=set)
    applied: list[tuple[str, str]] = field(default_factory=list)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    # Names that were given another version, for which nobody has waited yet.
    rolling: set[str] = field(default_factory=set)
    # What a command may still write before it is killed; None: as much as it likes.
    writes_left: int | None = None

    def deployed(self, name: str) -> Deployed | None:
        return self.services[name][0] if name in self.services else None

    def previous(self, name: str) -> Deployed | None:
        return self.services[name][1] if name in self.services else None

    def apply(self, name: str, version: Deployed, previous: Deployed | None) -> None:
        self.write()
        if self.deployed(name) != version:
            self.rolling.add(name)
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
        self.rolling.discard(name)

    def open_route(self, name: str) -> None:
        self.write()
        if name not in self.services:
            raise ClusterError(f"HTTPRoute {name!r} leads to nothing")
        self.routes.add(name)
        self.rollouts.pop(name, None)

    def rollout(self, name: str) -> Rollout | None:
        recorded = self.rollouts.get(name)
        # As a cluster keeps it.
        return Rollout.model_validate_json(recorded.model_dump_json()) if recorded else None

    def share(self, name: str, before: Rollout | None, rollout: Rollout) -> None:
        self.write()
        if self.rollout(name) != before:
            raise RolloutMovedError(f"the rollout of {name} was moved by somebody else meanwhile")
        self.rollouts[name] = rollout

    def wait_routed(self, name: str, seconds: float) -> None:
        if name not in self.routes:
            raise ClusterError(f"the gateway has not taken in HTTPRoute {name!r} for {seconds:.0f} s")

    def delete(self, name: str) -> None:
        self.write()
        self.services.pop(name, None)
        self.routes.discard(name)

    def write(self) -> None:
        """Count a write, of the cluster or beside it.

        Raises:
            Killed: there was none left.
        """
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Killed
            self.writes_left -= 1

    def asked(self, name: str) -> dict[str, Deployed]:
        """Return the services that requests for a model reach, and the version of each."""
        current = self.rollouts.get(name)
        weight = current.weight if current else 0
        shares = {name: 100 - weight, challenger_name(name): weight}
        return {service: self.services[service][0] for service, share in shares.items() if share}
