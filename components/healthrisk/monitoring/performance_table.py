"""Live performance as a table of plain text."""

from collections.abc import Iterator

from healthrisk.monitoring.alarm import AlarmState
from healthrisk.monitoring.estimate import BLIND
from healthrisk.monitoring.figures import Performance
from healthrisk.monitoring.performance import LivePerformance, Slice
from healthrisk.receipts.probability_bins import EVENT
from healthrisk.training.intervals import Estimate

_HEAD = (
    f"{'':<34}{'outcomes':>9}{'came true':>10}  "
    f"{'ROC AUC':<23}{'calibration slope':<24}{'in the large':<25}{'Brier':<22}"
)


def lines(performance: LivePerformance) -> Iterator[str]:
    """Yield the lines: each version's alarm, and of everybody, months and groups what is live beside validation."""
    for place, version in enumerate(performance.versions):
        if place:
            yield ""
        yield f"{version.model}, version {version.version}: {version.event}"
        yield f"alarm     {_alarm(version.alarm)}"
        yield ""
        yield _HEAD.rstrip()
        for one in version.slices:
            name = one.month or " ".join(filter(None, (one.grouping, one.group))) or "all"
            what = name if one.label == EVENT else f"{one.label}, {name}"
            yield _figures(what, one.live)
            if one.validated:
                yield _figures("  validation", one.validated)
            yield from _points(one)
            yield from _predictions(one)
    for pair in performance.differences:
        yield ""
        area = f"ROC AUC {_interval(pair.roc_auc, 3)}" if pair.roc_auc else "too few outcomes yet"
        yield f"version {pair.version} less {pair.other}: {area}, each by its own patients of {_months(pair.months)}"
        needed = (
            "" if pair.needed is None else f"; a difference of .05 takes {pair.needed} more of each, for a power of .8"
        )
        yield f"  {pair.outcomes[0]} and {pair.outcomes[1]} outcomes{needed}"


def _months(months: tuple[str, ...]) -> str:
    return months[0] if len(months) == 1 else f"{len(months)} months from {months[0]} to {months[-1]}"


def _alarm(state: AlarmState | None) -> str:
    if state is None:
        return "none: this version's bundle does not say how validation went"
    evidence = f"evidence {state.evidence:.3g} of {state.threshold:.3g} after {state.outcomes} outcomes"
    if state.raised:
        return f"raised on {state.raised}: {state.largest} ({evidence})"
    needed = f"; a fall of ROC AUC by .05 from the start needs about {state.needed}" if state.needed else ""
    return f"silent, {evidence}{needed}"


def _figures(name: str, figures: Performance) -> str:
    calibration = figures.calibration
    cells = f"{name:<34}{figures.rows:>9}{figures.events:>10}  {_interval(figures.roc_auc, 3):<23}"
    slope, large = (calibration.calibration_slope, calibration.in_the_large) if calibration else (None, None)
    cells += f"{_interval(slope, 2):<24}{_interval(large, 2):<25}{_interval(figures.brier, 3)}"
    return cells.rstrip() + ("" if figures.enough else "  too few")


def _points(one: Slice) -> Iterator[str]:
    for point in one.live.operating:
        shares = f"sensitivity {_interval(point.sensitivity, 3)}, specificity {_interval(point.specificity, 3)}"
        yield f"  at a risk of {point.at:g}: {shares}"


def _predictions(one: Slice) -> Iterator[str]:
    if one.served is not None and one.returned is not None:
        yield f"  {one.live.rows} outcomes of {one.served} predictions: {one.returned:.0%} have come back"
    if one.estimated:
        cells = f"{'  estimated':<34}{one.estimated.rows:>9}{one.estimated.events:>10.0f}  "
        cells += f"{_interval(one.estimated.roc_auc, 3):<23}{'-':<24}{'-':<25}{_interval(one.estimated.brier, 3)}"
        yield cells
        yield f"    {BLIND}"


def _interval(value: Estimate | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value.mean:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"
