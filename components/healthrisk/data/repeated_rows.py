"""How many rows repeat an earlier one, counted by 64-bit hashes of rows in bounded memory, fragment by fragment.

Up to a million different rows the count is exact. Above, a sample of the hashes is kept: those below a bound, which is
halved whenever there are too many. Rows that are equal have one hash, so they are in the sample together or not at all:
a table that repeats nothing is found to repeat nothing, where a sketch that estimates how many rows are different is
off by a share of all rows. The sample, and with it the count, is the same in whatever order rows come.
"""

import numpy as np
from numpy.typing import NDArray

# So many different rows are counted exactly; they take 16 MB.
KEPT = 1_000_000
Hashes = NDArray[np.uint64]


class RepeatedRows:
    """The hashes met that are below the bound, rising, and how often each was. `halvings` says how low the bound is."""

    def __init__(self) -> None:
        self.halvings = 0
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._waiting: list[Hashes] = []

    def add(self, hashes: Hashes) -> None:
        """Take the hashes of some rows."""
        self._waiting.append(hashes[self._is_kept(hashes)])
        if sum(map(len, self._waiting)) > KEPT:
            self._settle()

    def merge(self, other: "RepeatedRows") -> None:
        """Take what another has counted in other rows."""
        self._settle()
        other._settle()
        self.halvings = max(self.halvings, other.halvings)
        self._combine(np.concatenate([self._hashes, other._hashes]), np.concatenate([self._counts, other._counts]))

    def count(self) -> int:
        """Return how many rows repeat an earlier one: estimated where `halvings` is not 0."""
        self._settle()
        return int(self._counts.sum() - len(self._counts)) << self.halvings

    def _settle(self) -> None:
        waiting = np.concatenate([np.empty(0, np.uint64), *self._waiting])
        self._waiting = []
        self._combine(
            np.concatenate([self._hashes, waiting]), np.concatenate([self._counts, np.ones(len(waiting), np.int64)])
        )

    def _combine(self, hashes: Hashes, counts: NDArray[np.int64]) -> None:
        kept = np.flatnonzero(self._is_kept(hashes))
        order = kept[np.argsort(hashes[kept])]
        hashes, counts = hashes[order], counts[order]
        first = np.flatnonzero(np.diff(hashes, prepend=hashes[:1] + np.uint64(1)))
        self._hashes, self._counts = hashes[first], np.add.reduceat(counts, first) if len(first) else counts
        while len(self._hashes) > KEPT:
            self.halvings += 1
            below = self._is_kept(self._hashes)
            self._hashes, self._counts = self._hashes[below], self._counts[below]

    def _is_kept(self, hashes: Hashes) -> NDArray[np.bool_]:
        return hashes <= np.uint64((2**64 - 1) >> self.halvings)
