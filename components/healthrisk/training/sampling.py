"""Which rows of a large table are looked at: stratified samples, as large as the spec's `scale` asks for.

A sample holds of each class its share of the rows, so that frequencies, and with them probabilities, stay as they are.
Sampled rows of a patient stay one patient's: folds are made of what was sampled, by group.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from healthrisk.spec import DatasetSpec
from healthrisk.training.intervals import CONFIDENCE

Positions = NDArray[np.intp]
# An encoded matrix [rows, features] and the positions of its rows' classes [rows].
Part = tuple[NDArray[np.float64], NDArray[np.int64]]
# Of candidates, the share that goes on. Li et al., JMLR 18, 2018, take 3 or 4; scikit-learn 3.
FACTOR = 3


def stratified(y: NDArray[np.int64], rows: int, seed: int) -> Positions:
    """Return the positions of about `rows` rows in their order: of each class its share, rounded up.

    All positions, where there are no more. Of one seed a smaller sample lies within a larger one.
    """
    if rows >= len(y):
        return np.arange(len(y))
    shuffled = np.random.default_rng(seed).permutation(len(y))
    share, kept = rows / len(y), []
    for place in np.unique(y):
        members = shuffled[y[shuffled] == place]
        kept.append(members[: math.ceil(share * len(members))])
    return np.sort(np.concatenate(kept))


def take(part: Part, rows: Positions) -> Part:
    """Return some rows of a part."""
    matrix, y = part
    return matrix[rows], y[rows]


def rows_with(y: NDArray[np.int64], cases: int) -> int:
    """Return how many rows hold so many of the scarcest class that occurs."""
    counts = np.bincount(y)
    return math.ceil(cases * len(y) / int(counts[counts > 0].min()))


def judged(spec: DatasetSpec, y: NDArray[np.int64], seed: int) -> Positions:
    """Return the rows of a part, given by class positions [rows], that models are judged on."""
    scale = spec.scale
    if len(y) <= scale.whole_rows:
        return np.arange(len(y))
    return stratified(y, max(scale.judged_rows, rows_with(y, cases_for(scale.share_width))), seed)


def refitted(spec: DatasetSpec, y: NDArray[np.int64], seed: int) -> Positions:
    """Return the rows, given by class positions [rows], that models are fitted on anew, dozens of times."""
    if len(y) <= spec.scale.whole_rows:
        return np.arange(len(y))
    return stratified(y, max(spec.scale.search_rows, rows_with(y, spec.evidence.min_cases)), seed)


def search_folds(spec: DatasetSpec, rows: int) -> int:
    """Return how many folds a search on a part of so many rows has."""
    folds = spec.selection.folds
    return folds if rows <= spec.scale.whole_rows else min(folds, spec.scale.search_folds)


def cases_for(width: float) -> int:
    """Return how many cases give any share of them a 95 % interval no wider than this (Wald's, widest at one half)."""
    return math.ceil((float(stats.norm.ppf((1 + CONFIDENCE) / 2)) / width) ** 2)


def rungs(spec: DatasetSpec, y: NDArray[np.int64], candidates: int, rows: int) -> list[tuple[int, int]]:
    """Return a search's rungs on a part: how many candidates each judges, and on how many rows, `rows` at the last.

    A small part has one rung, of all. Each rung has a third of the candidates before it, and three times as many rows,
    and holds `min_cases` of the scarcest class; rungs that would be of one size are one.
    """
    if len(y) <= spec.scale.whole_rows:
        return [(candidates, len(y))]
    least = rows_with(y, spec.evidence.min_cases)
    counts = [candidates]
    while counts[-1] > FACTOR:
        counts.append(math.ceil(counts[-1] / FACTOR))
    last = max(rows, least)
    sizes = [max(math.ceil(last / FACTOR**below), least) for below in reversed(range(len(counts)))]
    most: dict[int, int] = {}
    for count, size in zip(counts, sizes, strict=True):
        most.setdefault(min(size, len(y)), count)
    return [(count, size) for size, count in most.items()]
