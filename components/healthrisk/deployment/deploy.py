"""Put a registered version behind its inference service, prove it there, and go back if it fails.

The version's golden rows are replayed through the live endpoint: what answers is then what was trained. A challenger is
served beside the champion under a name of its own, and both are asked the same rows; the champion stays.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle, parity, store
from healthrisk.config import settings
from healthrisk.deployment.cluster import Cluster, Deployed, challenger_name
from healthrisk.deployment.kubernetes_cluster import KubernetesCluster
from healthrisk.errors import HealthriskError, StoreError
from healthrisk.inference.scorer import golden_matrix, risk_levels
from healthrisk.records import actions, actor
from healthrisk.records.lines import ActionEvent
from healthrisk.registry import retirement, versions
from healthrisk.registry.registration import Registration
from healthrisk.serving.client import ServedModel
from healthrisk.spec import DatasetSpec

READY_SECONDS = 600.0
# A pod is ready a moment before every node has heard of its service, and one that goes answers a moment longer.
REACHED_WITHIN = 120.0
_log = logging.getLogger("healthrisk.deploy")


class DeployError(HealthriskError):
    """A version did not come up, or did not answer as its bundle says; what served before serves again."""


def deploy(registration: Registration, namespace: str) -> str:
    """Deploy what the register step registered, as champion or beside it; return what was done, in words.

    Raises:
        DeployError: it failed, and was taken back.
        RetiredError: it was retired, and nothing was touched.
    """
    retirement.refuse_number(registration.name, registration.version)
    bundle = store.fetch(registration.bundle, registration.digest, settings().home / "cache")
    version = Deployed(registration.version, registration.bundle, registration.digest)
    cluster, name = KubernetesCluster(namespace), bundle.spec.name
    url = f"http://{name}-transformer.{namespace}"
    if registration.alias == versions.CHAMPION:
        champion(cluster, bundle, version, url)
        return f"version {version.number} is served as {name}; it is {bundle.signature}"
    beside = challenger_name(name)
    comparison = challenger(
        cluster, bundle, version, {"champion": url, "challenger": f"http://{beside}-transformer.{namespace}"}
    )
    figures = ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in comparison.items())
    return f"version {version.number} is served beside the champion as {beside}; it is {bundle.signature}: {figures}"


def champion(cluster: Cluster, bundle: Bundle, version: Deployed, url: str, seconds: float = READY_SECONDS) -> None:
    """Serve a version under its model's name, at `url`, and record it in the registry.

    Raises:
        DeployError: it failed; the previous version serves again and is the champion again, and the registry says why.
            Where there is none, or it was retired, nothing serves.
    """
    name = bundle.spec.name
    previous = cluster.deployed(name)
    if previous and previous.digest == version.digest:
        previous = cluster.previous(name)
    try:
        serve(cluster, name, version, previous, seconds)
        replay(bundle, url, bundle.spec)
        # Nobody comes in before the answers are proven; who is in already came with the version before.
        cluster.open_route(name)
    except HealthriskError as error:
        try:
            outcome = _roll_back(cluster, name, version, previous, str(error), seconds)
        except StoreError as silent:
            outcome = str(silent)
        raise DeployError(f"version {version.number} of {name} was taken back: {error}; {outcome}") from error
    record(name, version, "serving", "deployed")


def challenger(
    cluster: Cluster, bundle: Bundle, version: Deployed, urls: dict[str, str], seconds: float = READY_SECONDS
) -> dict[str, float]:
    """Serve a version beside the champion and compare both on the challenger's golden rows.

    `urls` are the addresses of `champion` and `challenger`. Returns the largest and the mean difference in probability
    and the share of rows whose risk level differs; they are tags of the version, too.

    Raises:
        DeployError: the challenger did not come up, or did not answer as its bundle says; it is removed, unless a
            rollout gives it requests: what becomes of it then is for the rollout to say.
    """
    name = challenger_name(bundle.spec.name)
    current = cluster.rollout(bundle.spec.name)
    rolled_out = current.challenger if current and current.is_under_way else None
    if rolled_out and rolled_out.digest != version.digest:
        reason = f"version {rolled_out.number} is being rolled out"
        raise DeployError(f"version {version.number} was not served beside the champion: {reason}")
    try:
        serve(cluster, name, version, cluster.deployed(name), seconds)
        own = replay(bundle, urls["challenger"], bundle.spec)
        other = _ask(urls["champion"], bundle.spec, _golden_rows(bundle))
    except HealthriskError as error:
        if rolled_out is None:
            cluster.delete(name)
            record(bundle.spec.name, version, f"removed: {error}", "rolled-back")
        raise DeployError(f"version {version.number} was not served beside the champion: {error}") from error
    difference = np.abs(own - other)
    levels = np.array(risk_levels(bundle.spec, own)) != np.array(risk_levels(bundle.spec, other))
    comparison = {
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "other_risk_level": float(levels.mean()),
    }
    record(bundle.spec.name, version, "serving beside the champion", "deployed", comparison)
    return comparison


def rollback(cluster: Cluster, name: str, seconds: float = READY_SECONDS) -> tuple[Deployed, Deployed]:
    """Put back the version served before; return the version left and the one that serves now.

    Raises:
        DeployError: nothing was served before.
        RetiredError: what was has been retired since.
        ClusterError: the previous version did not come up.
        StoreError: the registry does not answer: before anything was touched, or after, as the message says.
    """
    current, previous = cluster.deployed(name), cluster.previous(name)
    if current is None or previous is None:
        raise DeployError(f"{name}: there is no previous version to go back to")
    retirement.refuse_number(name, previous.number)
    _roll_back(cluster, name, current, previous, "by hand", seconds)
    return current, previous


def replay(bundle: Bundle, url: str, served: DatasetSpec) -> NDArray[np.float32]:
    """Ask a live endpoint for a bundle's golden rows and return its answers [rows, classes].

    Raises:
        BundleError: an answer differs from the recorded one by more than 1e-6.
        StoreError: the endpoint does not answer, or serves another version still.
    """
    answers = _ask(url, served, _golden_rows(bundle), bundle.version)
    parity.check(answers, np.asarray(bundle.golden.probability), "golden row", "what was trained")
    _log.info("%s golden rows are answered as trained", len(answers))
    return answers


def _golden_rows(bundle: Bundle) -> NDArray[np.float64]:
    return golden_matrix(bundle.spec, bundle.golden.rows)


def _ask(url: str, served: DatasetSpec, rows: NDArray[np.float64], version: str = "") -> NDArray[np.float32]:
    until = time.monotonic() + REACHED_WITHIN
    while True:
        try:
            with closing(ServedModel(url, served, version=version)) as model:
                return model.probabilities(rows)
        except StoreError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def serve(cluster: Cluster, name: str, version: Deployed, previous: Deployed | None, seconds: float) -> None:
    """Serve a version under a name and wait until it is ready.

    Raises:
        ClusterError: the cluster refuses it, or it does not come up.
    """
    _log.info("applying version %s as %s", version.number, name)
    cluster.apply(name, version, previous)
    cluster.wait(name, version, seconds)


def _roll_back(
    cluster: Cluster, name: str, version: Deployed, previous: Deployed | None, reason: str, seconds: float
) -> str:
    """Put the version before in a version's place, or nothing where there is none to serve; return which, in words.

    Raises:
        ClusterError: the cluster refuses it, or the version before does not come up.
        StoreError: the registry does not do its part; requests have gone back all the same.
    """
    faults: list[StoreError] = []
    retired = ""
    # Where nobody says that it was retired, what served until now is better than what failed.
    with _kept(faults):
        retired = retirement.reason(name, previous.number) if previous else ""
    heir = None if retired else previous
    try:
        if heir:
            serve(cluster, name, heir, None, seconds)
        else:
            cluster.delete(name)
    finally:
        # Should the version before not come up either, the one that failed must not be called the champion.
        with _kept(faults):
            _take_back(name, version.number, heir, reason)
        # After the registry: the place of the record may be what is away, and is tried for minutes.
        actions.tell("rolled-back", name, version.number, version.digest, reason)
    if heir:
        with _kept(faults):
            record(name, heir, "serving", "deployed")
    outcome = f"version {heir.number} serves again" if heir else "nothing is served"
    if retired:
        outcome += f": {retired}"
    if faults:
        raise StoreError(f"{outcome}, but the registry did not do its part: {faults[0]}") from faults[0]
    return outcome


@contextmanager
def _kept(faults: list[StoreError]) -> Iterator[None]:
    """Go on where the registry does not do its part, and keep what it said."""
    try:
        yield
    except StoreError as error:
        faults.append(error)


def _take_back(name: str, number: str, heir: Deployed | None, reason: str) -> None:
    _tag(name, number, f"rolled back: {reason}")
    if heir:
        versions.make_champion(name, heir.number)
    else:
        versions.remove_alias(name, versions.CHAMPION)


def record(
    name: str, version: Deployed, what: str, event: ActionEvent, figures: dict[str, float] | None = None
) -> None:
    """Write on the registered version and into the record what became of it, and who did it.

    Raises:
        StoreError: the registry does not answer.
    """
    try:
        _tag(name, version.number, what, figures)
    finally:
        actions.tell(event, name, version.number, version.digest, what)


def _tag(name: str, number: str, what: str, figures: dict[str, float] | None = None) -> None:
    said = {"deployment": what, "deployment.at": versions.now(), "deployment.by": actor.current()}
    versions.tag(name, number, said | {key: str(value) for key, value in (figures or {}).items()})
