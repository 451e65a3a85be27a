"""Live performance: what returned outcomes say of each version, by month of prediction and group, beside validation."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from healthrisk.bundle import Bundle
from healthrisk.documents import Document
from healthrisk.monitoring import alarm
from healthrisk.monitoring.alarm import AlarmState
from healthrisk.monitoring.figures import Bins, Performance, measure
from healthrisk.monitoring.outcome_store import Cell
from healthrisk.receipts import judged
from healthrisk.receipts.validated import MIDDLES
from healthrisk.spec import DatasetSpec

Groups = dict[tuple[str, str], Bins]


class Slice(Document):
    """Figures of a label, of everybody or of one group, in a month of prediction or in all; and those of validation."""

    month: str
    grouping: str
    group: str
    label: str
    live: Performance
    validated: Performance | None


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
        return self.digest[:12]


class LivePerformance(Document):
    """What outcomes say of each version of a model."""

    versions: tuple[VersionPerformance, ...]


def assess(counts: Mapping[Cell, int], open_version: Callable[[str, str], Bundle]) -> LivePerformance:
    """Return what the counts of one model say of each of its versions.

    Raises:
        StoreError: a version's bundle cannot be reached.
    """
    versions: defaultdict[tuple[str, str], dict[Cell, int]] = defaultdict(dict)
    for cell, count in counts.items():
        versions[cell.model, cell.digest][cell] = count
    assessed = (_assess(open_version(*version), cells) for version, cells in sorted(versions.items()))
    return LivePerformance(versions=tuple(assessed))


def validated_bins(bundle: Bundle, label: str) -> Groups:
    """Return validation's counts of a label by group; none where the bundle does not say."""
    return {
        (known.grouping, known.group): Bins(
            np.array(known.events, dtype=np.float64), np.array(known.others, dtype=np.float64), np.array(known.means)
        )
        for known in bundle.reference.validated
        if known.label == label
    }


def _assess(bundle: Bundle, cells: Mapping[Cell, int]) -> VersionPerformance:
    spec = bundle.spec
    slices = [
        one
        for label in judged.labels(spec)
        for one in _slices(
            spec, label, validated_bins(bundle, label), [pair for pair in cells.items() if pair[0].label == label]
        )
    ]
    known = validated_bins(bundle, judged.EVENT)
    return VersionPerformance(
        model=spec.name,
        digest=bundle.digest,
        event=" or ".join(spec.target.classes[position].name for position in spec.event_positions),
        slices=tuple(slices),
        alarm=alarm.watch(known, _by_day(known, cells), bundle.digest) if ("", "") in known else None,
    )


def _slices(spec: DatasetSpec, label: str, known: Groups, cells: list[tuple[Cell, int]]) -> list[Slice]:
    """Return everybody's figures in all months and in each, then each group's in all."""
    sums: defaultdict[tuple[str, str, str], list[tuple[Cell, int]]] = defaultdict(list)
    for cell, count in cells:
        sums["", cell.grouping, cell.group].append((cell, count))
        if not cell.grouping:
            sums[cell.month, "", ""].append((cell, count))
    means = {group: bins.means for group, bins in known.items()}
    # A class has no level of risk from which one acts.
    acting = spec.acting_from if label == judged.EVENT else ()
    least = spec.evidence.min_cases
    return [
        Slice(
            month=month,
            grouping=grouping,
            group=group,
            label=label,
            live=measure(_bins(counted, means.get((grouping, group), MIDDLES)), acting, least),
            validated=measure(known[grouping, group], acting, least) if (grouping, group) in known else None,
        )
        for (month, grouping, group), counted in sorted(sums.items())
    ]


def _by_day(known: Groups, cells: Mapping[Cell, int]) -> dict[datetime.date, Groups]:
    days: defaultdict[datetime.date, defaultdict[tuple[str, str], list[tuple[Cell, int]]]]
    days = defaultdict(lambda: defaultdict(list))
    for cell, count in cells.items():
        if cell.label == judged.EVENT:
            days[cell.arrived][cell.grouping, cell.group].append((cell, count))
    means = known["", ""].means
    return {day: {group: _bins(counted, means) for group, counted in groups.items()} for day, groups in days.items()}


def _bins(cells: Iterable[tuple[Cell, int]], means: np.ndarray) -> Bins:
    counts = np.zeros((2, judged.BINS))
    for cell, count in cells:
        counts[int(cell.happened), cell.bin] += count
    return Bins(counts[1], counts[0], means)
