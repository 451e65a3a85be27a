"""What deploying asks of a cluster: a few calls on inference services, nothing more."""

from dataclasses import dataclass
from typing import Protocol

from healthrisk.errors import HealthriskError

NAMESPACE = "healthrisk"


class ClusterError(HealthriskError):
    """The cluster does not answer, refuses, or does not come to serve what it was asked to."""


@dataclass(frozen=True)
class Deployed:
    """A version of a model as it is deployed: its number in the registry, its bundle's address and digest."""

    number: str
    bundle: str
    digest: str


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
        """Give an inference service its way in through the site's gateway, if the site has one.

        Raises:
            ClusterError: the cluster refuses it.
        """

    def delete(self, name: str) -> None:
        """Remove an inference service and its way in, as far as they are there.

        Raises:
            ClusterError: the cluster refuses it.
        """
