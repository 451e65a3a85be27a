"""Tree ensembles as bit tables: many rows scored by look-ups and ANDs, from plain numbers.

The idea is QuickScorer's (Lucchese et al., SIGIR 2015; on vectors: Ye et al., RapidScorer, KDD 2018). Number a tree's
leaves from left to right, one bit each. A test `value <= threshold` that fails rules out the leaves of its left
branch, and of all leaves that no failed test rules out, the leftmost is the one that a walk down the tree would reach.
Which tests of a feature fail depends only on where its value lies among that feature's thresholds, so the leaves left
are a table: an interval's row holds one mask a tree. Scoring is one look-up and one AND a feature, for all trees.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from healthrisk.documents import Document
from healthrisk.errors import BundleError

Masks = NDArray[np.unsignedinteger[Any]]
# The file of a bundle that holds them.
TREES = "trees.json"
# One machine word holds a tree's leaves.
MOST_LEAVES = 64
# What the look-ups of a row may read of each tree. Measured (python -m tests.benchmarks.forests): up to so much tables
# answer 1,000 rows 1.1 to 5 times as fast as the graph; with 45 look-ups of 8 bytes they gain nothing.
MOST_BYTES_READ = 192
# From how many rows on they answer sooner: with 12 look-ups before 50 rows, with 33 from some 150 on, with 45 from 250.
_LEAST_ROWS = 64
_LEAST_ROWS_A_LOOKUP = 5
# Above it the tables leave the processor's caches, and looking up costs more than walking.
MOST_TABLE_BYTES = 32 * 2**20
# Features are looked up together while their intervals have so few combinations: 12 one-hot columns make one look-up.
# Measured: 256 is 1.5 times as fast as 1 (no merging), 4096 no faster.
_COMBINATIONS = 256
# A slice of rows whose masks stay in the first caches: 100 trees of 64 leaves take 200 KB.
_ROWS_AT_ONCE = 256
# By so much the shares of a leaf may miss a sum of 1.
_ROUNDING = 1e-14


class Trees(Document):
    """An ensemble's numbers. Node i of tree `tree[i]` tests whether input `feature[i]` <= `threshold[i]`.

    Where it is not, the leaves `begin[i]` up to but without `end[i]` of that tree are ruled out. `leaves[t][l]` are the
    values that leaf l of tree t adds to the outputs `targets[t]`, which start at `baseline`. The link makes
    probabilities of them: `mean` divides by the number of trees, `logistic` takes one output, `softmax` one a class.
    """

    link: Literal["mean", "logistic", "softmax"]
    baseline: tuple[float, ...]
    tree: tuple[int, ...]
    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]
    leaves: tuple[tuple[tuple[float, ...], ...], ...]

    @classmethod
    def from_json(cls, document: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            BundleError: it is something else.
        """
        try:
            return cls.model_validate_json(document)
        except ValidationError as error:
            raise BundleError(f"{TREES} holds no trees: {error.error_count()} faults") from error

    @cached_property
    def most_leaves(self) -> int:
        """The number of leaves of the largest tree."""
        return max(len(leaves) for leaves in self.leaves)

    def fits_tables(self) -> bool:
        """True if every tree's leaves fit a word and the tables fit the caches."""
        intervals = len(set(zip(self.feature, self.threshold, strict=True))) + len(set(self.feature))
        return self.most_leaves <= MOST_LEAVES and intervals * len(self.leaves) * 8 <= MOST_TABLE_BYTES

    def leaves_hold_shares(self) -> bool:
        """True if each leaf holds a share of every class, so that the last one's is what the others leave of 1."""
        every = tuple(range(len(self.baseline)))
        if self.link != "mean" or any(self.baseline) or any(targets != every for targets in self.targets):
            return False
        return all(abs(sum(values) - 1) <= _ROUNDING for leaves in self.leaves for values in leaves)


class TreeTables:
    """The tables of an ensemble that fits them."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._count = len(trees.leaves)
        bits = next(width for width in (8, 16, 32, 64) if trees.most_leaves <= width)
        self._word = np.dtype(f"uint{bits}")
        tested = [self._table(feature) for feature in sorted(set(trees.feature))]
        self._lookups = self._merge(tested or [self._one_row()])
        self._shares = trees.leaves_hold_shares()
        self._outputs = [self._leaf_values(output) for output in range(len(trees.baseline) - self._shares)]

    @property
    def lookups(self) -> int:
        """The number of look-ups a row."""
        return len(self._lookups)

    @property
    def word_bytes(self) -> int:
        """The bytes that a look-up reads for each tree."""
        return self._word.itemsize

    @property
    def least_rows(self) -> int:
        """The number of rows from which on they answer sooner than the graph, where they pay."""
        return max(_LEAST_ROWS, _LEAST_ROWS_A_LOOKUP * self.lookups)

    def pay(self) -> bool:
        """True if they answer sooner than the graph: what a row reads grows with both, walking trees with neither."""
        return self.lookups * self.word_bytes <= MOST_BYTES_READ

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes] for model inputs [rows, inputs]."""
        return self.exact(inputs).astype(np.float32)

    def engines(self) -> "tuple[TreeTables, ...]":
        """Itself."""
        return (self,)

    def exact(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return class probabilities as they are computed, in float64."""
        values = np.empty((len(inputs), len(self._trees.baseline)))
        keys = [_keys(features, inputs) for features, _ in self._lookups]
        memory = _Memory(min(len(inputs), _ROWS_AT_ONCE), self._count, self._word)
        for begin in range(0, len(inputs), _ROWS_AT_ONCE):
            rows = slice(begin, begin + _ROWS_AT_ONCE)
            slots = self._exit_slots([key[rows] for key in keys], memory)
            for output, (members, places, flat) in enumerate(self._outputs):
                _add_leaves(slots[:, members], places, flat, memory, values[rows, output])
        return self._link(values)

    def _exit_slots(self, keys: Sequence[NDArray[np.intp]], memory: "_Memory") -> NDArray[np.uint8]:
        """Return the leaf [rows, trees] that each row ends in, counted from one."""
        rows = len(keys[0])
        left, found, slots = memory.left[:rows], memory.found[:rows], memory.slots[:rows]
        for number, ((_, table), key) in enumerate(zip(self._lookups, keys, strict=True)):
            # No key lies outside its table; where another mode is asked, numpy fills `out` by way of a copy.
            table.take(key, axis=0, out=found if number else left, mode="clip")
            if number:
                np.bitwise_and(left, found, out=left)
        # Less one, the lowest bit and all below it are the other way round.
        np.subtract(left, self._word.type(1), out=found)
        np.bitwise_xor(left, found, out=found)
        return np.bitwise_count(found, out=slots)

    def _link(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities [rows, classes] of the sums [rows, outputs] of the leaves' values."""
        if self._shares:
            shares = values[:, :-1] / self._count
            return np.column_stack([shares, np.maximum(1 - shares.sum(axis=1), 0)])
        values = values + self._trees.baseline
        if self._trees.link == "mean":
            return values / self._count
        if self._trees.link == "logistic":
            event = 1 / (1 + np.exp(-values))
            return np.hstack([1 - event, event])
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _table(self, feature: int) -> tuple[list[tuple[int, NDArray[np.float64], int]], Masks]:
        """Return a feature's thresholds in rising order, and the leaves left [intervals, trees] between them."""
        trees = self._trees
        nodes = [node for node, tested in enumerate(trees.feature) if tested == feature]
        thresholds = np.unique([trees.threshold[node] for node in nodes])
        table: Masks = np.full((len(thresholds) + 1, self._count), np.iinfo(self._word).max, dtype=self._word)
        for node in nodes:
            ruled_out = (1 << trees.end[node]) - (1 << trees.begin[node])
            possible = self._word.type(int(np.iinfo(self._word).max) & ~ruled_out)
            # A value equal to the threshold passes the test: it lies in the interval that ends there.
            table[int(thresholds.searchsorted(trees.threshold[node])) + 1 :, trees.tree[node]] &= possible
        return [(feature, thresholds, 1)], table

    def _one_row(self) -> tuple[list[tuple[int, NDArray[np.float64], int]], Masks]:
        """Return the table of an ensemble that tests nothing: every row ends in the first leaves."""
        return [], np.ones((1, self._count), dtype=self._word)

    def _merge(
        self, tables: list[tuple[list[tuple[int, NDArray[np.float64], int]], Masks]]
    ) -> list[tuple[list[tuple[int, NDArray[np.float64], int]], Masks]]:
        """Join tables of few intervals: the key of several features is their intervals' number in mixed radix."""
        merged: list[tuple[list[tuple[int, NDArray[np.float64], int]], Masks]] = []
        for features, table in sorted(tables, key=lambda pair: len(pair[1])):
            if merged and len(merged[-1][1]) * len(table) <= _COMBINATIONS:
                known, before = merged.pop()
                joined = (before[:, None] & table[None]).reshape(-1, self._count)
                shifted = [(name, cuts, weight * len(table)) for name, cuts, weight in known]
                merged.append(([*shifted, *features], joined))
            else:
                merged.append((features, table))
        return merged

    def _leaf_values(self, output: int) -> tuple[slice | list[int], NDArray[np.intp], NDArray[np.float64]]:
        """Return the trees that add to an output, each one's place in a flat table of leaf values, and that table.

        A tree's place is one before its first leaf, for `_exit_slots` counts from one.
        """
        trees = self._trees
        members = [tree for tree, targets in enumerate(trees.targets) if output in targets]
        padded = np.zeros((len(members), trees.most_leaves))
        for row, tree in enumerate(members):
            place = trees.targets[tree].index(output)
            padded[row, : len(trees.leaves[tree])] = [values[place] for values in trees.leaves[tree]]
        return _slice_if_regular(members), np.arange(len(members)) * trees.most_leaves - 1, padded.ravel()


class _Memory:
    """What the slices of rows of one answer use in turn: memory that is new for each costs more than the work on it."""

    def __init__(self, rows: int, trees: int, word: np.dtype[Any]) -> None:
        self.left: Masks = np.empty((rows, trees), dtype=word)
        self.found: Masks = np.empty((rows, trees), dtype=word)
        self.slots = np.empty((rows, trees), dtype=np.uint8)
        self.places = np.empty(rows * trees, dtype=np.intp)
        self.values = np.empty(rows * trees)


def _add_leaves(
    slots: NDArray[np.uint8],
    places: NDArray[np.intp],
    flat: NDArray[np.float64],
    memory: _Memory,
    sums: NDArray[np.float64],
) -> None:
    """Put into `sums` [rows] what the leaves in `slots` [rows, trees] add up to."""
    at = memory.places[: slots.size].reshape(slots.shape)
    values = memory.values[: slots.size].reshape(slots.shape)
    np.add(slots, places, out=at)
    flat.take(at, out=values, mode="clip")
    values.sum(axis=1, out=sums)


def _slice_if_regular(places: list[int]) -> slice | list[int]:
    """Return evenly spaced places as a slice: it copies nothing."""
    step = places[1] - places[0] if len(places) > 1 else 1
    regular = slice(places[0], places[-1] + 1, step)
    return regular if places == list(range(regular.start, regular.stop, step)) else places


def _keys(features: list[tuple[int, NDArray[np.float64], int]], inputs: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return each row's place [rows] in a look-up table."""
    keys = np.zeros(len(inputs), dtype=np.intp)
    for feature, thresholds, weight in features:
        values = inputs[:, feature].astype(np.float64)
        # One threshold is the one-hot case, for which a comparison is several times faster than a search.
        place = values > thresholds[0] if len(thresholds) == 1 else thresholds.searchsorted(values, side="left")
        keys += place * weight
    return keys
