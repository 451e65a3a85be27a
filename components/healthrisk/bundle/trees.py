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
# answer 1,000 rows 1.1 to 3 times as fast as the graph; with 45 look-ups of 8 bytes they are slower.
MOST_BYTES_READ = 128
# Above it the tables leave the processor's caches, and looking up costs more than walking.
MOST_TABLE_BYTES = 32 * 2**20
# Features are looked up together while their intervals have so few combinations: 12 one-hot columns make one look-up.
# Measured: 256 is 1.5 times as fast as 1 (no merging), 4096 no faster.
_COMBINATIONS = 256
# A slice of rows whose masks stay in the first caches: 100 trees of 64 leaves take 200 KB.
_ROWS_AT_ONCE = 256


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


class TreeTables:
    """The tables of an ensemble that fits them."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._count = len(trees.leaves)
        bits = next(width for width in (8, 16, 32, 64) if trees.most_leaves <= width)
        self._word = np.dtype(f"uint{bits}")
        self._lookups = self._merge([self._table(feature) for feature in sorted(set(trees.feature))])
        self._outputs = [self._leaf_values(output) for output in range(len(trees.baseline))]

    @property
    def lookups(self) -> int:
        """The number of look-ups a row."""
        return len(self._lookups)

    @property
    def word_bytes(self) -> int:
        """The bytes that a look-up reads for each tree."""
        return self._word.itemsize

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
        values = np.empty((len(inputs), len(self._outputs)))
        keys = [_keys(features, inputs) for features, _ in self._lookups]
        for begin in range(0, len(inputs), _ROWS_AT_ONCE):
            rows = slice(begin, begin + _ROWS_AT_ONCE)
            leaf = self._exit_leaves([key[rows] for key in keys], len(inputs[rows]))
            for output, (members, places, flat) in enumerate(self._outputs):
                values[rows, output] = flat.take(leaf[:, members] + places).sum(axis=1)
        return self._link(values + self._trees.baseline)

    def _exit_leaves(self, keys: Sequence[NDArray[np.intp]], rows: int) -> NDArray[np.uint8]:
        """Return the leaf [rows, trees] that each row ends in."""
        left: Masks = np.full((rows, self._count), np.iinfo(self._word).max, dtype=self._word)
        for (_, table), key in zip(self._lookups, keys, strict=True):
            left &= table.take(key, axis=0)
        lowest = left & (~left + self._word.type(1))
        places: NDArray[np.uint8] = np.bitwise_count(lowest - self._word.type(1))
        return places

    def _link(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
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

    def _leaf_values(self, output: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Return the trees that add to an output, each one's place in a flat table of leaf values, and that table."""
        trees = self._trees
        members = [tree for tree, targets in enumerate(trees.targets) if output in targets]
        padded = np.zeros((len(members), trees.most_leaves))
        for row, tree in enumerate(members):
            place = trees.targets[tree].index(output)
            padded[row, : len(trees.leaves[tree])] = [values[place] for values in trees.leaves[tree]]
        return np.array(members, dtype=np.intp), np.arange(len(members)) * trees.most_leaves, padded.ravel()


def _keys(features: list[tuple[int, NDArray[np.float64], int]], inputs: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return each row's place [rows] in a look-up table."""
    keys = np.zeros(len(inputs), dtype=np.intp)
    for feature, thresholds, weight in features:
        values = inputs[:, feature].astype(np.float64)
        # One threshold is the one-hot case, for which a comparison is several times faster than a search.
        place = values > thresholds[0] if len(thresholds) == 1 else thresholds.searchsorted(values, side="left")
        keys += place * weight
    return keys
