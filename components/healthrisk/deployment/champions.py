"""The registry's champions, served where nothing does: on a cluster restored from a backup, or new."""

from collections.abc import Callable, Iterator, Sequence

from healthrisk.bundle import store
from healthrisk.config import settings
from healthrisk.deployment import deploy
from healthrisk.deployment.cluster import Cluster, Deployed
from healthrisk.errors import ConfigError
from healthrisk.registry import retirement, versions


def serve(cluster: Cluster, url: Callable[[str], str], names: Sequence[str] = ()) -> Iterator[str]:
    """Serve the champions of some models, or of all that have one; yield what was done, in words, for each.

    `url` says where a model's transformer will answer.

    Raises:
        ConfigError: a model that is named has no champion; nothing was touched.
        DeployError: one did not come up, or did not answer as its bundle says; it stays the registry's champion.
        StoreError: the registry or the store does not answer.
        RetiredError: one was retired.
    """
    champions = {name: versions.champion(name) for name in names or versions.names()}
    for name in names:
        if champions[name] is None:
            raise ConfigError(f"the registry knows no champion of {name!r}")
    for name, champion in champions.items():
        if champion:
            version = Deployed(champion.number, champion.uri, champion.digest)
            yield _serve(cluster, name, version, url(name))


def _serve(cluster: Cluster, name: str, version: Deployed, url: str) -> str:
    if cluster.deployed(name) == version:
        return f"version {version.number} is served as {name} already"
    retirement.refuse_number(name, version.number)
    bundle = store.fetch(version.bundle, version.digest, settings().home / "cache")
    try:
        deploy.champion(cluster, bundle, version, url)
    except deploy.DeployError:
        # It is no new version that failed: what it failed for may be the cluster's, and it is to be tried again.
        if versions.champion(name) is None:
            versions.make_champion(name, version.number)
        raise
    return f"version {version.number} is served as {name}; it is {bundle.signature}"
