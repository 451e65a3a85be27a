"""Whether rows still look like those a model was made from, by counts alone: a file's, or those that servers keep.

Each feature is tested for its values, for its share of missing ones, and for that of refused rows; predictions for the
classes and for every class's probability. Numbers go by Kolmogorov and Smirnov's test on the reference's edges (on few
edges it alarms too seldom, never too often), shares by Pearson's chi-square. P values are adjusted by Benjamini and
Hochberg (JRSS B 57, 1995). The verdict needs an effect as well: with enough rows every difference is significant. An
effect is a distance or, of shares, Cohen's h, which counts from the base rate: from 0 to 8 % is as much as 50 to 77 %.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from healthrisk.bundle.reference import NumberCounts, Reference
from healthrisk.documents import Document

Counts = NDArray[np.float64]
# The share of tables without any drift in which something is said to drift, at most.
FALSE_ALARMS = 0.05
# Distances (of Kolmogorov and Smirnov, or total variation) from which a difference matters, and from which it is an
# alarm: the second is that of the alert on live traffic.
MODERATE, STRONG = 0.1, 0.2
# The same of Cohen's h, the difference of the arcsines of two shares' roots, doubled: from 2 % to 8 %, and to 19 %
# (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 6).
MODERATE_H, STRONG_H = 0.3, 0.6
# Cochran's rule: the chi-square distribution fits where every cell expects so many.
EXPECTED_IN_A_CELL = 5
# What an empty bin counts for, so that the population stability index stays finite.
_PSI_FLOOR = 1e-4


Verdict = Literal["stable", "moderate", "strong"]
What = Literal["values", "probability", "missing", "refused"]
Test = Literal["Kolmogorov-Smirnov", "chi-square"]


class Shift(Document):
    """How far one distribution moved.

    `what` is a feature's values, its share of missing ones or of rows refused for it, or a predicted class's
    probability; `p` is the test's p value and `adjusted` its q value; `distance` and `jensen_shannon` are 0 for the
    same and 1 for apart, `psi` is the population stability index, `effect` the largest Cohen's h of a share.
    """

    feature: str
    what: What
    test: Test
    p: float
    adjusted: float
    distance: float
    jensen_shannon: float
    psi: float
    effect: float | None
    verdict: Verdict


class ComparedRows(Document):
    """The numbers of rows of the two sides."""

    reference: int
    current: int


class DriftReport(Document):
    """How rows differ from the reference: the worst verdict, the features that drift, and every shift, largest first.

    `false_alarms` is the share of tables without any drift in which something is said to drift, at most.
    """

    verdict: Verdict
    drifting: tuple[str, ...]
    rows: ComparedRows
    false_alarms: float
    shifts: tuple[Shift, ...]


class VersionDrift(DriftReport):
    """How rows differ from what a version was trained on, and how many more were refused for their values."""

    refused_rows: int
    version: str


@dataclass(frozen=True)
class _Pair:
    """Two distributions of the same cells, and the test that compares them."""

    feature: str
    what: What
    test: Test
    before: Counts
    now: Counts


def compare(reference: Reference, current: Reference) -> DriftReport:
    """Compare two references on the same edges and codes."""
    # Where one side has no value there is nothing to compare; the share of missing ones shows it.
    pairs = [pair for pair in _pairs(reference, current) if pair.before.sum() and pair.now.sum()]
    p = np.array([_p_value(pair) for pair in pairs])
    adjusted = stats.false_discovery_control(p)
    shifts = [_shift(pair, *values) for pair, *values in zip(pairs, p.tolist(), adjusted.tolist(), strict=True)]
    moved = [shift for shift in shifts if shift.verdict != "stable"]
    return DriftReport(
        verdict="strong" if any(shift.verdict == "strong" for shift in moved) else "moderate" if moved else "stable",
        drifting=tuple(dict.fromkeys(shift.feature for shift in moved)),
        rows=ComparedRows(reference=reference.rows, current=current.rows),
        false_alarms=FALSE_ALARMS,
        shifts=tuple(sorted(shifts, key=lambda shift: -shift.distance)),
    )


def _pairs(reference: Reference, current: Reference) -> Iterator[_Pair]:
    before, now = reference.predictions.counts, current.predictions.counts
    yield _Pair("predictions", "values", "chi-square", _array(before), _array(now))
    for name, scored in reference.probabilities.items():
        counts = [_array(side.counts) for side in (scored, current.probabilities[name])]
        yield _Pair(f"predictions of {name}", "probability", "Kolmogorov-Smirnov", *counts)
    yield from _refusals(reference, current)
    for name, known in reference.features.items():
        seen = current.features[name]
        test: Test = "Kolmogorov-Smirnov" if isinstance(known, NumberCounts) else "chi-square"
        yield _Pair(name, "values", test, _array(known.counts), _array(seen.counts))
        if known.missing or seen.missing:
            missing = [_array([sum(side.counts), side.missing]) for side in (known, seen)]
            yield _Pair(name, "missing", "chi-square", *missing)


def _refusals(reference: Reference, current: Reference) -> Iterator[_Pair]:
    """Yield the shares of refused rows, of all and by reason; rows that are refused are compared in nothing else."""
    sides = (reference, current)
    every = [side.rows + side.refused_rows for side in sides]
    counted = {"rows": [side.refused_rows for side in sides]}
    for reason in {**reference.refused, **current.refused}:
        counted[reason] = [side.refused.get(reason, 0) for side in sides]
    for name, refused in counted.items():
        if any(refused):
            cells = [_array([total - count, count]) for total, count in zip(every, refused, strict=True)]
            yield _Pair(name, "refused", "chi-square", *cells)


def _shift(pair: _Pair, p: float, adjusted: float) -> Shift:
    one, other = pair.before / pair.before.sum(), pair.now / pair.now.sum()
    ordered = pair.test == "Kolmogorov-Smirnov"
    distance = _largest_gap(one, other) if ordered else float(np.abs(one - other).sum() / 2)
    a, b = np.maximum(one, _PSI_FLOOR), np.maximum(other, _PSI_FLOOR)
    effect = None if ordered else float(np.abs(2 * (np.arcsin(np.sqrt(other)) - np.arcsin(np.sqrt(one)))).max())
    moderate, strong = (distance >= MODERATE, distance >= STRONG)
    if effect is not None:
        moderate, strong = moderate or effect >= MODERATE_H, strong or effect >= STRONG_H
    verdict: Verdict = "stable"
    if adjusted < FALSE_ALARMS and moderate:
        verdict = "strong" if strong else "moderate"
    return Shift(
        feature=pair.feature,
        what=pair.what,
        test=pair.test,
        p=p,
        adjusted=adjusted,
        distance=distance,
        jensen_shannon=float(np.nan_to_num(jensenshannon(one, other, base=2))),
        psi=float(((b - a) * np.log(b / a)).sum()),
        effect=effect,
        verdict=verdict,
    )


def _array(counts: Sequence[int]) -> Counts:
    return np.asarray(counts, dtype=np.float64)


def _largest_gap(one: Counts, other: Counts) -> float:
    return float(np.abs(np.cumsum(one) - np.cumsum(other)).max())


def _p_value(pair: _Pair) -> float:
    before, now = pair.before, pair.now
    n, m = before.sum(), now.sum()
    if pair.test == "Kolmogorov-Smirnov":
        return float(stats.kstwobign.sf(_largest_gap(before / n, now / m) * np.sqrt(n * m / (n + m))))
    table = _pooled(np.array([before, now]))
    return float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0


def _pooled(table: Counts) -> Counts:
    """Return a table [2, cells] whose scarce cells are thrown together until each expects enough."""
    cells = table[:, np.argsort(table.sum(axis=0))]
    share = table.sum(axis=1).min() / table.sum()
    while cells.shape[1] > 1 and cells[:, 0].sum() * share < EXPECTED_IN_A_CELL:
        cells = np.column_stack([cells[:, 0] + cells[:, 1], cells[:, 2:]])
    return cells
