"""When the groups of a large table were first seen: what `grouping.latest` asks, of files instead of memory.

Each part of the table is brought down to its groups' hashes, rising, with the first time and the number of rows of
each. Then one span of hashes after the other is gathered from all parts, and each part is told when its groups were
first seen anywhere. So a process holds the groups of one part, or those of a span, however many rows there are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from healthrisk.data import tables
from healthrisk.engine import Tasks
from healthrisk.spec import DatasetSpec
from healthrisk.training.grouping import are_numbers, hash_groups, is_grouped, parse_times

# Times as whole numbers that sort as they do, and hashes of groups.
Whole = NDArray[np.uint64]
# Rows of a span of hashes, which take some 100 MB.
_SPAN_ROWS = 1_000_000
_DIGITS = 1 << 16
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class FirstSeen:
    """The groups of a table's parts, in files of a folder, named by the number of the part's first row.

    Where no rows belong together, those of one time are a group. `numbers` says that times are no dates.
    """

    spec: DatasetSpec
    folder: Path
    numbers: bool

    def of(self, batch: pa.RecordBatch, groups: Whole | None, part: int) -> Whole:
        """Return when each row's group was first seen [rows], given the groups' hashes.

        The batch is of the part that begins with the row numbered `part`.
        """
        if groups is None:
            return self.times(batch, part)
        return self.seen(part)[np.searchsorted(self.load(part, "groups.npy"), groups)]

    def times(self, batch: pa.RecordBatch, first: int) -> Whole:
        """Return when each row was [rows]; `first` is the number of the first."""
        bits = (parse_times(self.spec, _texts(self.spec, batch), self.numbers, first) + 0.0).view(np.uint64)
        return np.where(bits & _SIGN, ~bits, bits | _SIGN)

    def seen(self, part: int) -> Whole:
        """Return when each group of a part was first seen in any of them."""
        if not is_grouped(self.spec):
            return self.load(part, "groups.npy")
        return np.memmap(self.path(part, "seen"), np.uint64, "r")

    def load(self, part: int, what: str) -> Whole:
        """Return the numbers in a file, one for each group of a part."""
        numbers: Whole = np.load(self.path(part, what), mmap_mode="r")
        return numbers

    def path(self, part: int, what: str) -> Path:
        """Return where a file about a part lies."""
        return self.folder / f"{part}-{what}"


@dataclass(frozen=True)
class _Part:
    """A part of a table that begins with the row numbered `first`."""

    seen: FirstSeen
    first: int
    path: Path


def first_seen(spec: DatasetSpec, parts: Mapping[int, Path], rows: int, folder: Path, tasks: Tasks) -> FirstSeen:
    """Find out when each group was first seen in a table of so many rows.

    `parts`, by the number of the first row of each, have rows; `folder` is empty, and whoever asks what comes has it.

    Raises:
        TrainingError: a time is neither a number nor a date as 2026-11-21.
    """
    unknown = FirstSeen(spec, folder, numbers=True)
    numbers = all(tasks.map(_has_numbers, (_Part(unknown, *each) for each in parts.items())))
    seen = FirstSeen(spec, folder, numbers)
    for _ in tasks.map(_summarize, (_Part(seen, *each) for each in parts.items())):
        pass
    if is_grouped(spec):
        spans, done = -(-rows // _SPAN_ROWS), dict.fromkeys(parts, 0)
        for span in range(1, spans + 1):
            last = np.uint64((span << 64) // spans - 1)
            ends = {part: int(np.searchsorted(seen.load(part, "groups.npy"), last, side="right")) for part in parts}
            _join(seen, {part: slice(done[part], ends[part]) for part in parts})
            done = ends
    return seen


def quantile(seen: FirstSeen, parts: Mapping[int, Path], rows: int, share: float) -> np.uint64:
    """Return by when the groups of this share of the rows were seen: numpy's quantile by the inverted CDF.

    It is found digit by digit, of sixteen bits each, in four passes over the groups.
    """
    place, known = max(0, math.ceil(rows * share - 1)), 0
    for shift in range(48, -1, -16):
        counts = np.zeros(_DIGITS, dtype=np.int64)
        for part in parts:
            # What lies below the digits that are known becomes very large.
            digits = (seen.seen(part) >> np.uint64(shift)) - np.uint64(known * _DIGITS)
            near = digits < _DIGITS
            weights = seen.load(part, "rows.npy")[near]
            counts += np.bincount(digits[near].astype(np.intp), weights, _DIGITS).astype(np.int64)
        reached = np.cumsum(counts)
        digit = int(np.searchsorted(reached, place, side="right"))
        place -= int(reached[digit] - counts[digit])
        known = known * _DIGITS + digit
    return np.uint64(known)


def _texts(spec: DatasetSpec, batch: pa.RecordBatch) -> NDArray[np.object_]:
    return np.asarray(batch.column(spec.time).to_numpy(zero_copy_only=False), dtype=object)


def _has_numbers(part: _Part) -> bool:
    spec = part.seen.spec
    return all(are_numbers(_texts(spec, batch)) for batch in tables.read_parts(part.path, [spec.time]))


def _summarize(part: _Part) -> None:
    """Write the hashes of a part's groups, rising, and of each the first time and the number of rows."""
    seen, spec, row = part.seen, part.seen.spec, part.first
    hashes, times = list[Whole](), list[Whole]()
    grouped = [spec.group] if spec.group else [*spec.features, spec.target.name]
    for batch in tables.read_parts(part.path, [*(grouped if is_grouped(spec) else ()), spec.time]):
        times.append(seen.times(batch, row))
        groups = hash_groups(spec, batch)
        hashes.append(times[-1] if groups is None else groups)
        row += batch.num_rows
    groups, members, counts = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
    np.save(seen.path(part.first, "groups.npy"), groups)
    np.save(seen.path(part.first, "rows.npy"), counts)
    np.save(seen.path(part.first, "times.npy"), _least(np.concatenate(times), members, len(groups)))


def _join(seen: FirstSeen, spans: Mapping[int, slice]) -> None:
    """Join the groups at these places of each part, and append when they were first seen to what is known of it."""
    groups = [np.array(seen.load(part, "groups.npy")[span]) for part, span in spans.items()]
    times = [np.array(seen.load(part, "times.npy")[span]) for part, span in spans.items()]
    found, members = np.unique(np.concatenate(groups), return_inverse=True)
    joined = _least(np.concatenate(times), members, len(found))[members]
    ends = np.cumsum([len(each) for each in groups])
    for part, each in zip(spans, np.split(joined, ends[:-1]), strict=True):
        with seen.path(part, "seen").open("ab") as file:
            each.tofile(file)


def _least(times: Whole, members: NDArray[np.intp], groups: int) -> Whole:
    """Return the first time of each group [groups], given that and the group of each member."""
    least = np.full(groups, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, members, times)
    return least
