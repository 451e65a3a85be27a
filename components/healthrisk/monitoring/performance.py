"""Live performance: what returned outcomes say of each version, by month of prediction and group, beside validation."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

import numpy as np

from healthrisk.bundle import Bundle
from healthrisk.bundle.manifest import version_of
from healthrisk.documents import Document
from healthrisk.monitoring import alarm
from healthrisk.monitoring.alarm import AlarmState
from healthrisk.monitoring.estimate import Estimated, estimate
from healthrisk.monitoring.figures import Bins, Counts, Performance, Within, measure
from healthrisk.monitoring.outcome_store import Cell, ServedCell
from healthrisk.monitoring.version_comparison import Difference, Side, differences
from healthrisk.receipts import probability_bins
from healthrisk.receipts.validation_bins import MIDDLES
from healthrisk.spec import DatasetSpec

Groups = dict[tuple[str, str], Bins]
_NOTHING = Bins(np.zeros(probability_bins.BINS), np.zeros(probability_bins.BINS), MIDDLES)


class Predicted(TypedDict, total=False):
    """What a slice says of predictions, whether or not their outcomes have come."""

    served: int
    returned: float
    estimated: Estimated | None


class Slice(Document):
    """Figures of a label, of everybody or of one group, in a month of prediction or in all; and those of validation.

    Of everybody, `served` is how many predictions are known to have been served, `returned` the share of these whose
    outcome has come back, and `estimated` what they are worth without outcomes; else, and where nobody knows, None.
    """

    month: str
    grouping: str
    group: str
    label: str
    live: Performance
    validated: Performance | None
    served: int | None = None
    returned: float | None = None
    estimated: Estimated | None = None


class VersionPerformance(Document):
    """What outcomes say of one version. `alarm` is None where the bundle does not say how validation went."""

    model: str
    digest: str
    event: str
    slices: tuple[Slice, ...]
    alarm: AlarmState | None

    @property
    def version(self) -> str:
        """The short name of this version, as servers report it."""
        return version_of(self.digest)


class LivePerformance(Document):
    """What outcomes say of each version of a model, and of versions side by side that answered in the same months."""

    versions: tuple[VersionPerformance, ...]
    differences: tuple[Difference, ...] = ()


def assess(
    counts: Mapping[Cell, int], served: Mapping[ServedCell, int], open_version: Callable[[str, str], Bundle]
) -> LivePerformance:
    """Return what the counts of one model's outcomes, and of its predictions, say of each of its versions.

    Raises:
        StoreError: a version's bundle cannot be reached.
    """
    versions: defaultdict[tuple[str, str], dict[Cell, int]] = defaultdict(dict)
    for cell, count in counts.items():
        versions[cell.model, cell.digest][cell] = count
    predicted: defaultdict[tuple[str, str], dict[ServedCell, int]] = defaultdict(dict)
    for one, count in served.items():
        predicted[one.model, one.digest][one] = count
    known = sorted(versions.keys() | predicted.keys())
    bundles = {version: open_version(*version) for version in known}
    sides = {bundle.version: _side(bundle, versions[key], predicted[key]) for key, bundle in bundles.items()}
    return LivePerformance(
        versions=tuple(_assess(bundle, versions[version], predicted[version]) for version, bundle in bundles.items()),
        differences=differences(sides),
    )


def validated_bins(bundle: Bundle, label: str) -> Groups:
    """Return validation's counts of a label by group; none where the bundle does not say."""
    return {
        (known.grouping, known.group): Bins(
            np.array(known.events, dtype=np.float64),
            np.array(known.others, dtype=np.float64),
            np.array(known.means),
            Within.of(known),
        )
        for known in bundle.reference.validated
        if known.label == label
    }


def _side(bundle: Bundle, cells: Mapping[Cell, int], served: Mapping[ServedCell, int]) -> Side:
    """Return everybody's outcomes of the event, by each month in which the version is known to have answered."""
    known = validated_bins(bundle, probability_bins.EVENT).get(("", ""), _NOTHING)
    months: dict[str, list[tuple[Cell, int]]] = {f"{cell.day:%Y-%m}": [] for cell in served}
    for cell, count in cells.items():
        if cell.label == probability_bins.EVENT and not cell.grouping:
            months.setdefault(cell.month, []).append((cell, count))
    by_month = {month: _bins(counted, known) for month, counted in months.items()}
    return Side(by_month, known, bundle.spec.evidence.min_cases)


def _assess(bundle: Bundle, cells: Mapping[Cell, int], served: Mapping[ServedCell, int]) -> VersionPerformance:
    spec = bundle.spec
    slices = [
        one
        for label in probability_bins.labels(spec)
        for one in _slices(
            spec,
            label,
            validated_bins(bundle, label),
            [pair for pair in cells.items() if pair[0].label == label],
            _by_month([pair for pair in served.items() if pair[0].label == label]),
        )
    ]
    known = validated_bins(bundle, probability_bins.EVENT)
    return VersionPerformance(
        model=spec.name,
        digest=bundle.digest,
        event=" or ".join(spec.target.classes[position].name for position in spec.event_positions),
        slices=tuple(slices),
        alarm=alarm.watch(known, _by_day(known, cells), bundle.digest) if ("", "") in known else None,
    )


def _slices(
    spec: DatasetSpec, label: str, known: Groups, cells: list[tuple[Cell, int]], served: Mapping[str, Counts]
) -> list[Slice]:
    """Return everybody's figures in all months and in each, then each group's in all."""
    sums: defaultdict[tuple[str, str, str], list[tuple[Cell, int]]] = defaultdict(list)
    sums |= {(month, "", ""): [] for month in served}
    for cell, count in cells:
        sums["", cell.grouping, cell.group].append((cell, count))
        if not cell.grouping:
            sums[cell.month, "", ""].append((cell, count))
    # A class has no level of risk from which one acts.
    acting = spec.acting_from if label == probability_bins.EVENT else ()
    least = spec.evidence.min_cases
    return [
        Slice(
            month=month,
            grouping=grouping,
            group=group,
            label=label,
            live=measure(_bins(counted, known.get((grouping, group), _NOTHING)), acting, least),
            validated=measure(known[grouping, group], acting, least) if (grouping, group) in known else None,
            **({} if grouping else _without_outcomes(served.get(month), counted, known.get(("", "")), acting, least)),
        )
        for (month, grouping, group), counted in sorted(sums.items())
    ]


def _without_outcomes(
    served: Counts | None,
    counted: Iterable[tuple[Cell, int]],
    known: Bins | None,
    acting: tuple[float, ...],
    least: int,
) -> Predicted:
    if served is None:
        return {}
    rows = int(served.sum())
    # Prometheus loses some of what was counted while a server came or went.
    share = min(1.0, sum(count for _, count in counted) / rows)
    return {"served": rows, "returned": share, "estimated": estimate(known, served, acting, least) if known else None}


def _by_month(served: list[tuple[ServedCell, int]]) -> dict[str, Counts]:
    """Return predictions by bin [50] of all months together, under an empty name, and of each."""
    months: defaultdict[str, Counts] = defaultdict(lambda: np.zeros(probability_bins.BINS))
    for cell, count in served:
        for month in ("", f"{cell.day:%Y-%m}"):
            months[month][cell.bin] += count
    return dict(months)


def _by_day(known: Groups, cells: Mapping[Cell, int]) -> dict[datetime.date, Groups]:
    days: defaultdict[datetime.date, defaultdict[tuple[str, str], list[tuple[Cell, int]]]]
    days = defaultdict(lambda: defaultdict(list))
    for cell, count in cells.items():
        if cell.label == probability_bins.EVENT:
            days[cell.arrived][cell.grouping, cell.group].append((cell, count))
    whole = known["", ""]
    return {day: {group: _bins(counted, whole) for group, counted in groups.items()} for day, groups in days.items()}


def _bins(cells: Iterable[tuple[Cell, int]], like: Bins) -> Bins:
    counts = np.zeros((2, probability_bins.BINS))
    for cell, count in cells:
        counts[int(cell.happened), cell.bin] += count
    return like.of(counts[1], counts[0])
