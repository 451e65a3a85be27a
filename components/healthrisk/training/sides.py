"""On which side of the split each row of a table stands, and which rows the preprocessor is fitted on.

Up to a million rows the hold-out is drawn from the whole table, stratified by class. Above, a seeded hash of a row's
group says where it stands: no row needs to know of another, so memory does not grow with the table, and among so many
rows the hold-out has its fifth of every class within chance. By time it is the latest fifth of any table, to the row.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from healthrisk import atomic
from healthrisk.data import encoding, tables
from healthrisk.engine import Tasks
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing
from healthrisk.training.first_seen import FirstSeen, first_seen, quantile
from healthrisk.training.grouping import Groups, groups_of, hash_groups, is_grouped, times_of

DRAWN_ROWS = 1_000_000
# A larger training part is sampled for fitting: the medians and means of so many rows lie within a hundredth of a
# standard deviation, and of forty columns they take 64 MB.
FIT_ROWS = 200_000
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class RowSides(NamedTuple):
    """Of some rows [rows]: which are held out, which group each belongs to, and which the preprocessor is fitted on."""

    held_out: NDArray[np.bool_]
    groups: Groups | None
    fitted_on: NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """Sides that were drawn, of the rows from `first` on."""

    sides: RowSides
    first: int = 0

    @property
    def grouped(self) -> bool:
        """True if rows have groups."""
        return self.sides.groups is not None

    @classmethod
    def draw(cls, spec: DatasetSpec, table: Path, seed: int) -> Self:
        """Draw the sides of a whole table."""
        target = encoding.encode_target(spec, tables.read_columns(table, [spec.target.name]))
        groups = groups_of(spec, table)
        held_out = preprocessing.split(target, seed, groups, times_of(spec, table))
        return cls(RowSides(held_out, groups, _sample(~held_out, seed)))

    def part(self, first: int, rows: int) -> "Drawn":
        """Return the sides of so many rows from `first` on."""
        held_out, groups, fitted_on = self.sides
        span = slice(first - self.first, first - self.first + rows)
        return Drawn(RowSides(held_out[span], None if groups is None else groups[span], fitted_on[span]), first)

    def of(self, batch: pa.RecordBatch, first: int) -> RowSides:
        """Return the sides of a batch's rows; `first` is the number of the first in the table, from 0."""
        return self.part(first, batch.num_rows).sides


@dataclass(frozen=True)
class Hashed:
    """Sides by hashes, in a table of so many rows."""

    spec: DatasetSpec
    rows: int
    seed: int

    @property
    def grouped(self) -> bool:
        """True if rows may have groups."""
        return is_grouped(self.spec)

    def part(self, _first: int, _rows: int) -> "Hashed":
        """Return the same: a hash says it of any row."""
        return self

    def of(self, batch: pa.RecordBatch, first: int) -> RowSides:
        """Return the sides of a batch's rows; `first` is the number of the first in the table, from 0."""
        numbers = _numbers(batch, first)
        groups = hash_groups(self.spec, batch)
        held_out = _fractions(numbers if groups is None else groups, self.seed, 0) < preprocessing.HOLD_OUT
        return _sides(held_out, groups, numbers, self.rows, self.seed)


@dataclass(frozen=True)
class Later:
    """Sides by time, in a table of so many rows: held out are groups first seen after a time.

    Rows that are asked for belong to the part that begins with the row `first`.
    """

    seen: FirstSeen
    latest_trained: np.uint64
    rows: int
    seed: int
    first: int = 0

    @property
    def grouped(self) -> bool:
        """True if rows may have groups."""
        return is_grouped(self.seen.spec)

    def part(self, first: int, _rows: int) -> "Later":
        """Return the sides of the part that begins with the row `first`."""
        return replace(self, first=first)

    def of(self, batch: pa.RecordBatch, first: int) -> RowSides:
        """Return the sides of a batch's rows; `first` is the number of the first in the table, from 0."""
        groups = hash_groups(self.seen.spec, batch)
        held_out = self.seen.of(batch, groups, self.first) > self.latest_trained
        return _sides(held_out, groups, _numbers(batch, first), self.rows, self.seed)


Sides = Drawn | Hashed | Later


@contextmanager
def sides_of(
    spec: DatasetSpec, table: Path, counts: list[int], seed: int, scratch: Path, tasks: Tasks
) -> Iterator[Sides]:
    """Yield the sides of a validated table whose parts have so many rows; those who work have the folder `scratch`.

    Raises:
        TrainingError: the table cannot be split by class, or a time is none.
    """
    rows = sum(counts)
    if rows <= DRAWN_ROWS:
        yield Drawn.draw(spec, table, seed)
    elif not spec.time:
        yield Hashed(spec, rows, seed)
    else:
        firsts = itertools.accumulate(counts, initial=0)
        parts = {first: part for first, part, count in zip(firsts, tables.parts(table), counts, strict=False) if count}
        with atomic.scratch_folder(scratch) as folder:
            seen = first_seen(spec, parts, rows, folder, tasks)
            yield Later(seen, quantile(seen, parts, rows, 1 - preprocessing.HOLD_OUT), rows, seed)


def _numbers(batch: pa.RecordBatch, first: int) -> NDArray[np.uint64]:
    return np.arange(first, first + batch.num_rows, dtype=np.uint64)


def _sides(
    held_out: NDArray[np.bool_],
    groups: NDArray[np.uint64] | None,
    numbers: NDArray[np.uint64],
    rows: int,
    seed: int,
) -> RowSides:
    """Return the sides of rows of these numbers, whose hashes say which of them the preprocessor is fitted on."""
    share = FIT_ROWS / rows / (1 - preprocessing.HOLD_OUT)
    fitted_on = ~held_out & (_fractions(numbers, seed, 1) < share)
    return RowSides(held_out, None if groups is None else groups.view(np.int64), fitted_on)


def _fractions(keys: NDArray[np.uint64], seed: int, purpose: int) -> NDArray[np.float64]:
    """Return numbers from 0 to 1 [rows] that follow from keys and seed, without a pattern (splitmix64)."""
    (start,) = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)
    mixed = (keys ^ start) + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    fractions: NDArray[np.float64] = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) / 2.0**53
    return fractions


def _sample(training: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return a mask of at most FIT_ROWS rows of the training part."""
    rows = np.flatnonzero(training)
    if len(rows) <= FIT_ROWS:
        return training
    mask = np.zeros(len(training), dtype=bool)
    mask[np.random.default_rng(seed).choice(rows, FIT_ROWS, replace=False)] = True
    return mask
