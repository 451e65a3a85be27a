"""An alarm on live performance that may be looked at every day: its false-alarm rate holds over all looks together.

Two e-processes for everybody and for each group, on outcomes in their order of arrival (Ramdas et al., Statistical
Science 38, 2023): each starts at 1, is expected to stay there while nothing is wrong, and grows where something is.
- AUC: a bet on each batch that its AUC is below the validated one (Waudby-Smith and Ramdas, JRSS B 86, 2024).
- Calibration slope: how much likelier outcomes are under a recalibration that was fitted before they came than under
  the best one whose slope lies within .8 to 1.25 (running maximum likelihood: Wasserman et al., PNAS 117, 2020).
Their mean is an e-process, too. By Ville's inequality it ever reaches 1 / .05 with a probability of .05 at most.
"""

import datetime
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from healthrisk.documents import Document
from healthrisk.monitoring.figures import Bins, area_and_error
from healthrisk.monitoring.recalibration import Recalibration, fit, fit_within, log_likelihood
from healthrisk.receipts.validation_bins import EDGE

# The share of versions without any change that are ever said to have one, at most.
FALSE_ALARMS = 0.05
AUC_FALL = 0.05
SLOPES = (0.8, 1.25)
POWER = 0.8
# Of each outcome, in every batch: an area of fewer is hardly one.
BATCH = 20
# Of the largest bet that can be lost whole.
_BOLDNESS = 0.9
# Hermite's nodes, by which an expectation over a batch's AUC is taken.
_NODES = 40


class AlarmState(Document):
    """Where the alarm stands: the evidence, the evidence from which it is raised, and since when it has been.

    `largest` names the group and the figure with the most evidence; `needed` is after how many outcomes a fall of AUC
    by .05, there from the first one, is found with a power of .8, `outcomes` how many have been looked at.
    """

    raised: datetime.date | None
    evidence: float
    threshold: float
    largest: str
    outcomes: int
    needed: int | None


@dataclass
class _Process:
    """The two e-processes of one group, on log scale."""

    name: str
    validated: Bins
    auc: float = 0.0
    slope: float = 0.0

    def __post_init__(self) -> None:
        none = np.zeros_like(self.validated.means)
        self._pool = self._seen = Bins(none, none, self.validated.means)
        self._numerator, self._recalibration = 0.0, Recalibration(0.0, 1.0)
        self._logit = special.logit(np.clip(self.validated.means, EDGE, 1 - EDGE))

    def add(self, bins: Bins, rng: np.random.Generator) -> None:
        """Take in the outcomes of a day."""
        self._pool = _plus(self._pool, bins)
        for batch in _batches(self._pool, rng):
            self._pool = Bins(self._pool.events - batch.events, self._pool.others - batch.others, batch.means)
            self._bet(batch)
            self._fit(batch)

    def _bet(self, batch: Bins) -> None:
        null, stake = _stake(self.validated, float(batch.events.sum()), float(batch.others.sum()))
        self.auc += math.log1p(stake * (null - area_and_error(batch)[0]))

    def _fit(self, batch: Bins) -> None:
        self._numerator += log_likelihood(self._recalibration, self._logit, batch)
        self._seen = _plus(self._seen, batch)
        self._recalibration = fit(self._logit, self._seen, self._recalibration)
        best = fit_within(self._logit, self._seen, SLOPES, self._recalibration)
        self.slope = self._numerator - log_likelihood(best, self._logit, self._seen)


def watch(
    validated: Mapping[tuple[str, str], Bins], days: Mapping[datetime.date, Mapping[tuple[str, str], Bins]], seed: str
) -> AlarmState:
    """Return the alarm's state after outcomes by day of arrival and group; `seed` is the version's.

    Groups in which validation had too few of either outcome are left out. The same outcomes give the same state.
    """
    processes = {
        group: _Process(" ".join(group).strip() or "all", bins)
        for group, bins in validated.items()
        if min(bins.events.sum(), bins.others.sum()) >= BATCH
    }
    raised, outcomes = None, 0
    threshold = 1 / FALSE_ALARMS
    evidence = [0.0]
    for day, groups in sorted(days.items()):
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed} {day}".encode()).digest()[:8]))
        outcomes += round(float(groups[("", "")].rows.sum())) if ("", "") in groups else 0
        for group, bins in groups.items():
            if group in processes:
                processes[group].add(bins, rng)
        evidence = [value for process in processes.values() for value in (process.auc, process.slope)] or evidence
        if raised is None and _mean(evidence) >= threshold:
            raised = day
    return AlarmState(
        raised=raised,
        evidence=_mean(evidence),
        threshold=threshold,
        largest=_largest(list(processes.values())),
        outcomes=outcomes,
        needed=needed(validated[("", "")], 2 * len(processes)) if ("", "") in processes else None,
    )


def needed(validated: Bins, processes: int) -> int:
    """Return after how many outcomes of everybody a fall of AUC by `AUC_FALL` raises the alarm with power `POWER`.

    The fall is there from the first outcome: after a time without one the evidence has to be won back first.

    One of `processes` e-processes must carry the mean alone. Its logarithm after many batches is taken for normal.
    """
    events, others = float(validated.events.sum()), float(validated.others.sum())
    share = min(events, others) / (events + others)
    size = BATCH / share
    counts = (BATCH, size - BATCH) if events <= others else (size - BATCH, BATCH)
    null, stake = _stake(validated, *counts)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    areas = np.clip(null - AUC_FALL + _batch_error(validated, *counts) * nodes, 0, 1)
    gains, weights = np.log1p(stake * (null - areas)), weights / weights.sum()
    mean = float(weights @ gains)
    spread = math.sqrt(float(weights @ (gains - mean) ** 2))
    # mean * m - z * spread * sqrt(m) = goal, solved for sqrt(m).
    goal, z = math.log(processes / FALSE_ALARMS), float(stats.norm.ppf(POWER))
    root = (z * spread + math.sqrt((z * spread) ** 2 + 4 * mean * goal)) / (2 * mean)
    return math.ceil(math.ceil(root**2) * size)


def _stake(validated: Bins, events: float, others: float) -> tuple[float, float]:
    """Return the area under test and what is bet on each unit below it: Kelly's for a fall, within what may be lost."""
    null = area_and_error(validated)[0]
    best = AUC_FALL / (_batch_error(validated, events, others) ** 2 + AUC_FALL**2)
    return null, min(best, _BOLDNESS / max(1 - null, 1e-6))


def _batch_error(validated: Bins, events: float, others: float) -> float:
    """Return the standard error of the area of so many, by the spread that validation had."""
    of = Bins(
        validated.events * events / validated.events.sum(),
        validated.others * others / validated.others.sum(),
        validated.means,
    )
    return area_and_error(of)[1]


def _batches(pool: Bins, rng: np.random.Generator) -> Iterator[Bins]:
    """Yield a pool in batches that are as equal as can be; drawn at random, since a day's outcomes have no order."""
    events, others = pool.events.astype(np.int64), pool.others.astype(np.int64)
    for left in range(int(min(events.sum(), others.sum())) // BATCH, 0, -1):
        drawn = [
            rng.multivariate_hypergeometric(counts, int(counts.sum()) // left, method="marginals")
            for counts in (events, others)
        ]
        events, others = events - drawn[0], others - drawn[1]
        yield Bins(drawn[0].astype(np.float64), drawn[1].astype(np.float64), pool.means)


def _plus(one: Bins, other: Bins) -> Bins:
    return Bins(one.events + other.events, one.others + other.others, one.means)


def _mean(logarithms: list[float]) -> float:
    return float(np.exp(min(700.0, np.logaddexp.reduce(logarithms) - math.log(len(logarithms)))))


def _largest(processes: list[_Process]) -> str:
    named = [(process.auc, f"ROC AUC of {process.name}") for process in processes]
    named += [(process.slope, f"calibration slope of {process.name}") for process in processes]
    return max(named)[1] if named else ""
