"""Versions side by side, each by the outcomes of its own patients: how far their areas lie apart.

Fair where chance decided who met which version, as a route's weights do. An interval is that of one look: who looks
every day and stops at the first that leaves out 0 finds differences where there are none.
"""

import math
from collections.abc import Mapping

from scipy import stats

from healthrisk.documents import Document
from healthrisk.monitoring.figures import Bins, area, area_and_error
from healthrisk.training.intervals import CONFIDENCE, Estimate, wald

POWER = 0.8
SMALLEST = 0.05


class Difference(Document):
    """The area of `version` less that of `other`, by their short names.

    `needed` is how many more outcomes of each it takes until a difference of .05 is found with a power of .8.
    """

    version: str
    other: str
    roc_auc: Estimate
    needed: int


def differences(versions: Mapping[str, Bins]) -> tuple[Difference, ...]:
    """Return how versions, by short name, differ from the one with the most outcomes; both outcomes must occur."""
    if not versions:
        return ()
    most = max(versions, key=lambda name: float(versions[name].rows.sum()))
    return tuple(_difference(name, most, versions[name], versions[most]) for name in versions if name != most)


def _difference(version: str, other: str, own: Bins, others: Bins) -> Difference:
    errors = [area_and_error(bins)[1] for bins in (own, others)]
    outcomes = [float(bins.rows.sum()) for bins in (own, others)]
    # The variance of the difference, were there one outcome of each.
    variance = sum(error**2 * count for error, count in zip(errors, outcomes, strict=True))
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    return Difference(
        version=version,
        other=other,
        roc_auc=wald(area(own).mean - area(others).mean, math.hypot(*errors)),
        needed=max(0, math.ceil(variance * (z / SMALLEST) ** 2) - int(min(outcomes))),
    )
