"""What deploying asks of a cluster: a few calls on inference services, nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from healthrisk.bundle.manifest import version_of
from healthrisk.errors import HealthriskError

if TYPE_CHECKING:
    from healthrisk.deployment.rollout_plan import Rollout

NAMESPACE = "healthrisk"
_CHALLENGER = "-challenger"


def challenger_name(model: str) -> str:
    """Return the name of the inference service that serves a model's challenger."""
    return f"{model}{_CHALLENGER}"


def model_name(service: str) -> str:
    """Return the model that an inference service serves, as callers know it."""
    return service.removesuffix(_CHALLENGER)


class ClusterError(HealthriskError):
    """The cluster does not answer, refuses, or does not come to serve what it was asked to."""


class RolloutMovedError(ClusterError):
    """Somebody else has moved a rollout since it was read."""


@dataclass(frozen=True)
class Deployed:
    """A version of a model as it is deployed: its number in the registry, its bundle's address and digest."""

    number: str
    bundle: str
    digest: str

    @property
    def version(self) -> str:
        """The short name of this version, as servers report it."""
        return version_of(self.digest)


class Cluster(Protocol):
    """Inference services in one namespace."""

    def deployed(self, name: str) -> Deployed | None:
        """Return the version that an inference service serves, or None where there is none.

        Raises:
            ClusterError: the cluster does not answer.
        """

    def previous(self, name: str) -> Deployed | None:
        """Return the version that an inference service served before, or None.

        Raises:
            ClusterError: the cluster does not answer.
        """

    def apply(self, name: str, version: Deployed, previous: Deployed | None) -> None:
        """Make or change an inference service after the site's template.

        Raises:
            ClusterError: the cluster refuses it, or the namespace has no template.
        """

    def wait(self, name: str, version: Deployed, seconds: float) -> None:
        """Wait until every replica of every server runs a version and is ready.

        Raises:
            ClusterError: that takes longer than `seconds`; the message says what is missing, and why.
        """

    def open_route(self, name: str) -> None:
        """Give an inference service its way in through the site's gateway, if the site has one; a rollout ends.

        Raises:
            ClusterError: the cluster refuses it.
        """

    def rollout(self, name: str) -> Rollout | None:
        """Return what a model's way in says of a rollout, the last one's end included, or None.

        Raises:
            ClusterError: the cluster does not answer, or the document is none.
        """

    def share(self, name: str, before: Rollout | None, rollout: Rollout) -> None:
        """Share a model's requests as a rollout says, and write the rollout down, both at once.

        Raises:
            RolloutMovedError: what is written down is not `before` any more.
            ClusterError: the cluster refuses it, or the site has no gateway.
        """

    def wait_routed(self, name: str, seconds: float) -> None:
        """Wait until the gateway has taken in how a model's requests are shared.

        Raises:
            ClusterError: that takes longer than `seconds`, or the gateway refuses it.
        """

    def delete(self, name: str) -> None:
        """Remove an inference service and its way in, as far as they are there.

        Raises:
            ClusterError: the cluster refuses it.
        """
