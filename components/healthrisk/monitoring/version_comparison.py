"""Versions side by side, each by the outcomes of its own patients: how far their areas lie apart.

Fair where chance decided who met which version, as a route's weights do; so it is of the months in which both answered.
An interval is that of one look: who looks every day and stops at the first that leaves out 0 finds differences where
there are none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from healthrisk.documents import Document
from healthrisk.monitoring.figures import Bins, area, area_and_error
from healthrisk.training.intervals import CONFIDENCE, Estimate, wald

POWER = 0.8
SMALLEST = 0.05


class Difference(Document):
    """The area of `version` less that of `other`, by their short names, of predictions of the months that both share.

    `outcomes` are those of each. `roc_auc` is None where they are too few to be judged. `needed` is how many more of
    each it takes until a difference of .05 is found with a power of .8, by how outcomes vary so far or, where they are
    too few, varied in validation; None where that is not known either.
    """

    version: str
    other: str
    months: tuple[str, ...]
    outcomes: tuple[int, int]
    roc_auc: Estimate | None
    needed: int | None


@dataclass(frozen=True)
class Side:
    """A version: its outcomes by each month of prediction in which it answered, validation's, and how few are none."""

    months: Mapping[str, Bins]
    validated: Bins
    least: int

    def within(self, months: Sequence[str]) -> Bins:
        """Return the outcomes of some months together."""
        chosen = [self.months[month] for month in months]
        counts = np.sum([[one.events, one.others] for one in chosen], axis=0)
        return self.validated.of(counts[0], counts[1])

    def is_enough(self, bins: Bins) -> bool:
        """Say whether figures of these outcomes may be judged."""
        return _scarcer(bins) >= max(self.least, 1)

    def variance(self, bins: Bins) -> float | None:
        """Return the variance of the area of one outcome, or None where too little is known."""
        known = bins if self.is_enough(bins) else self.validated
        return area_and_error(known)[1] ** 2 * float(known.rows.sum()) if _scarcer(known) > 1 else None


def differences(versions: Mapping[str, Side]) -> tuple[Difference, ...]:
    """Return how versions, by short name, differ from the one with the most outcomes, where they share a month."""
    if not versions:
        return ()
    most = max(versions, key=lambda name: sum(float(bins.rows.sum()) for bins in versions[name].months.values()))
    pairs = [(name, sorted(versions[name].months.keys() & versions[most].months.keys())) for name in versions]
    return tuple(
        _difference(name, most, versions[name], versions[most], months)
        for name, months in pairs
        if months and name != most
    )


def _difference(version: str, other: str, own: Side, others: Side, months: Sequence[str]) -> Difference:
    first, second = own.within(months), others.within(months)
    estimate = None
    if own.is_enough(first) and others.is_enough(second):
        error = math.hypot(area_and_error(first)[1], area_and_error(second)[1])
        estimate = wald(area(first).mean - area(second).mean, error)
    outcomes = round(float(first.rows.sum())), round(float(second.rows.sum()))
    return Difference(
        version=version,
        other=other,
        months=tuple(months),
        outcomes=outcomes,
        roc_auc=estimate,
        needed=_needed(own.variance(first), others.variance(second), min(outcomes)),
    )


def _needed(first: float | None, second: float | None, outcomes: int) -> int | None:
    """Return how many more outcomes of each it takes, given the variances of the areas of one."""
    if first is None or second is None:
        return None
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    return max(0, math.ceil((first + second) * (z / SMALLEST) ** 2) - outcomes)


def _scarcer(bins: Bins) -> float:
    return min(float(bins.events.sum()), float(bins.others.sum()))
