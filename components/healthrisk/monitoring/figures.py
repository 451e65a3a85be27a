"""Performance out of counts by bin and outcome, without a row; with validation's counts, the same figures of then.

A bin stands for the mean probability that validation had in it. AUC with the variance of DeLong, DeLong and Clarke-
Pearson (Biometrics 44, 1988), in which rows of one bin are ties; as many of these are taken for ordered rightly as in
validation. Calibration by the evidence's own functions, on the log-odds that events and others of a bin had there: half
of them at one standard deviation below the mean, half above.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from healthrisk.bundle.reference import ValidatedBins
from healthrisk.documents import Document
from healthrisk.evidence import calibration
from healthrisk.evidence.documents import Calibration
from healthrisk.evidence.event import Event
from healthrisk.receipts.probability_bins import BINS
from healthrisk.receipts.validation_bins import EDGE
from healthrisk.training.decision import CalibrationCurve
from healthrisk.training.intervals import CONFIDENCE, Estimate, proportion, wald

Counts = NDArray[np.float64]
_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
# The calibration curve joins bins until each point has so many rows.
_CURVE_ROWS = 10


@dataclass(frozen=True)
class Within:
    """How validation's rows lay within bins [50]: the share of pairs of an event and another that were ordered rightly.

    `event_logits` and `other_logits` [2, 50] are the mean of their log-odds and its standard deviation.
    """

    ordered: Counts
    event_logits: Counts
    other_logits: Counts

    @classmethod
    def of(cls, known: ValidatedBins) -> "Within | None":
        """Return what validation says of it; older bundles say nothing."""
        if not known.ordered:
            return None
        return cls(np.array(known.ordered), np.array(known.event_logits), np.array(known.other_logits))


@dataclass(frozen=True)
class Bins:
    """Counts [50] of rows in which something came true, and of the others, and the probability each bin stands for."""

    events: Counts
    others: Counts
    means: Counts
    within: Within | None = None

    def of(self, events: Counts, others: Counts) -> "Bins":
        """Return other counts in bins that stand for the same."""
        return Bins(events, others, self.means, self.within)

    @property
    def rows(self) -> Counts:
        """The rows of each bin [50]."""
        return self.events + self.others


class OperatingPoint(Document):
    """Of those in which it came true the share at or above a risk, and of the others the share below."""

    at: float
    sensitivity: Estimate | None
    specificity: Estimate | None


class Performance(Document):
    """What probabilities were worth on `rows` rows with known outcomes; None where there is nothing to compute from.

    `enough` says whether at least the spec's `min_cases` came true and as many did not: below that no figure is judged.
    """

    rows: int
    events: int
    enough: bool
    roc_auc: Estimate | None
    brier: Estimate | None
    calibration: Calibration | None
    curve: CalibrationCurve
    operating: tuple[OperatingPoint, ...]


def measure(bins: Bins, acting_from: tuple[float, ...], min_cases: int) -> Performance:
    """Return every figure of counts, with 95 % intervals."""
    events, others = int(bins.events.sum()), int(bins.others.sum())
    return Performance(
        rows=events + others,
        events=events,
        enough=min(events, others) >= min_cases,
        roc_auc=area(bins) if events and others else None,
        brier=brier(bins) if events + others else None,
        calibration=_calibration(bins) if events and others else None,
        curve=_curve(bins),
        operating=tuple(operating(bins, at) for at in dict.fromkeys(acting_from)),
    )


def area(bins: Bins) -> Estimate:
    """Return the area under the ROC curve; the interval is Wald's on its log-odds. Both outcomes must occur."""
    auc, error = area_and_error(bins)
    pairs = float(bins.events.sum() * bins.others.sum())
    if bins.within is not None:
        auc += float(bins.events @ (bins.others * (bins.within.ordered - 0.5))) / pairs
    # No sample shows that every pair is ordered rightly.
    inner = min(max(auc, 0.5 / pairs), 1 - 0.5 / pairs)
    margin = _Z * error / (inner * (1 - inner))
    low, high = special.expit(special.logit(inner) + np.array([-margin, margin])).tolist()
    return Estimate(mean=auc, low=min(low, auc), high=max(high, auc))


def area_and_error(bins: Bins) -> tuple[float, float]:
    """Return the area under the ROC curve and its standard error, rows of one bin as ties."""
    events, others = bins.events.sum(), bins.others.sum()
    of_event = (np.cumsum(bins.others) - bins.others / 2) / others
    of_other = 1 - (np.cumsum(bins.events) - bins.events / 2) / events
    auc = float(bins.events @ of_event / events)
    spread = [
        float(weights @ (placed - auc) ** 2 / max(weights.sum() - 1, 1) / weights.sum())
        for weights, placed in ((bins.events, of_event), (bins.others, of_other))
    ]
    return auc, math.sqrt(sum(spread))


def brier(bins: Bins) -> Estimate:
    """Return the Brier score; there must be a row."""
    losses = np.concatenate([(1 - bins.means) ** 2, bins.means**2])
    weights = np.concatenate([bins.events, bins.others])
    mean = float(weights @ losses / weights.sum())
    return wald(mean, math.sqrt(float(weights @ (losses - mean) ** 2)) / float(weights.sum()))


def _calibration(bins: Bins) -> Calibration:
    if bins.within is None:
        logits = special.logit(np.tile(np.clip(bins.means, EDGE, 1 - EDGE), 2))
        happened, weights = np.repeat([True, False], BINS), np.concatenate([bins.events, bins.others])
    else:
        means, deviations = np.hstack([bins.within.event_logits, bins.within.other_logits])
        logits = np.concatenate([means - deviations, means + deviations])
        happened = np.tile(np.repeat([True, False], BINS), 2)
        weights = np.tile(np.concatenate([bins.events, bins.others]) / 2, 2)
    measured = calibration.measure(Event(happened, logits >= 0, special.expit(logits)), weights)
    return measured.model_copy(update={"expected": float(bins.rows @ bins.means / bins.rows.sum())})


def _curve(bins: Bins) -> CalibrationCurve:
    points: list[tuple[float, float, float]] = []
    events = rows = sums = 0.0
    for came, count, mean in zip(bins.events, bins.rows, bins.means, strict=True):
        events, rows, sums = events + came, rows + count, sums + count * mean
        if rows >= _CURVE_ROWS:
            points.append((sums / rows, events / rows, rows))
            events = rows = sums = 0.0
    return CalibrationCurve(
        predicted=tuple(point[0] for point in points),
        observed=tuple(point[1] for point in points),
        rows=tuple(int(point[2]) for point in points),
    )


def operating(bins: Bins, at: float) -> OperatingPoint:
    """Count those at or above a risk. Of the bin in which it lies a share counts, as if its rows lay evenly in it."""
    above = np.clip((np.arange(BINS) + 1 - at * BINS), 0, 1)
    shares = []
    for counts, share in ((bins.events, above), (bins.others, 1 - above)):
        # Expected counts are no whole numbers.
        total = round(float(counts.sum()))
        shares.append(proportion(round(float(counts @ share)), total) if total else None)
    return OperatingPoint(at=at, sensitivity=shares[0], specificity=shares[1])
