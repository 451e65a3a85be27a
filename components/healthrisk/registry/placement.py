"""Which place a new version gets: champion, or challenger unless it is shown to be better."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle, store
from healthrisk.bundle.signature import SignatureError
from healthrisk.errors import BundleError, SpecError
from healthrisk.registry import versions
from healthrisk.registry.comparison import Comparison, IncomparableError, compare
from healthrisk.registry.versions import CHALLENGER, CHAMPION, Registered
from healthrisk.spec import DatasetSpec
from healthrisk.training.decision import Decision
from healthrisk.training.sampling import Part

ALREADY = "it is the champion already"


@dataclass(frozen=True)
class Standing:
    """The alias that a version got and why; `awaits_rollout` where it would be champion, were it not to come in so."""

    alias: str
    reason: str
    awaits_rollout: bool = False


def compare_with_champion(spec: DatasetSpec, rows: Part, probabilities: NDArray[np.float64]) -> Comparison | str:
    """Compare what may become a version with the champion, by its `probabilities` [rows, classes]; else say why not.

    Raises:
        SignatureError: the champion is not signed by whom one believes here: to compare with nothing would give its
            place away.
    """
    champion = versions.champion(spec.name)
    if champion is None:
        return "there is no champion"
    with tempfile.TemporaryDirectory(prefix="healthrisk-champion-") as cache:
        try:
            return compare(store.fetch(champion.uri, champion.digest, Path(cache)), spec, rows, probabilities)
        except SignatureError as error:
            remedy = f"sign it by `python -m healthrisk sign {champion.uri}`, or retire version {champion.number}"
            raise SignatureError(f"the champion cannot be compared with: {error}; {remedy}") from error
        except (IncomparableError, BundleError, SpecError) as error:
            return str(error)


def register_bundle(
    bundle: Bundle,
    uri: str,
    decision: Decision,
    run_id: str,
    comparison: Comparison | str,
    *,
    by_rollout: bool = False,
) -> tuple[Registered, Standing]:
    """Register a bundle once, and give it an alias: champion, or challenger unless it is shown to be better.

    `comparison` is that with the champion, or says why there is none. With `by_rollout` nothing takes a champion's
    place: a version that might is its challenger, until a rollout has brought it in.

    Each part can be repeated: a version is found again by its digest, so a rerun after a kill adds what is missing.
    Returns the version, and its standing.

    Raises:
        StoreError: the registry does not answer, or refuses.
    """
    name = bundle.spec.name
    tags = _tags(bundle, uri, decision)
    version = versions.by_digest(name, bundle.digest) or versions.create(name, uri, run_id, tags)
    if version.retired:
        return version, Standing("", f"it is retired: {version.retired}")
    if override := decision.override:
        versions.describe(name, version.number, f"Gates {override.statement}")
    standing = _standing(bundle, comparison, by_rollout=by_rollout)
    if standing.alias == CHAMPION:
        versions.make_champion(name, version.number)
    else:
        versions.make_challenger(name, version.number)
    return versions.by_number(name, version.number), standing


def _tags(bundle: Bundle, uri: str, decision: Decision) -> dict[str, str]:
    metric = decision.metric.name
    score = decision.winning.cross_validation.intervals[metric].mean
    tags = {"uri": uri, "digest": bundle.digest, "family": decision.winner, "metric": metric, "score": repr(score)}
    if override := decision.override:
        tags |= {"override.reason": override.reason, "override.by": override.by, "override.at": override.at}
        tags["override.gates"] = "; ".join(override.gates)
    return tags


def _standing(bundle: Bundle, comparison: Comparison | str, *, by_rollout: bool) -> Standing:
    current = versions.champion(bundle.spec.name)
    if current is None:
        return Standing(CHAMPION, "the first version of this model")
    if current.digest == bundle.digest:
        return Standing(CHAMPION, ALREADY)
    if isinstance(comparison, str):
        reason = f"the previous champion cannot be compared with it: {comparison}"
    elif comparison.challenger_is_better:
        reason = f"better: {comparison.summary}"
    else:
        return Standing(CHALLENGER, f"not shown to be better: {comparison.summary}")
    return Standing(CHALLENGER, f"until it is rolled out; {reason}", True) if by_rollout else Standing(CHAMPION, reason)
