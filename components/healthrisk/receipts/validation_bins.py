"""What a version's validation looks like in the bins of its receipts: what live performance stands beside."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.reference import Reference, ValidatedBins
from healthrisk.receipts import probability_bins
from healthrisk.receipts.groups import SensitiveGroups
from healthrisk.spec import DatasetSpec

MIDDLES = (np.arange(probability_bins.BINS) + 0.5) / probability_bins.BINS
# For log-odds a probability that is only known to be below .02 is kept at .01.
EDGE = 0.5 / probability_bins.BINS


def count(
    spec: DatasetSpec,
    reference: Reference,
    matrix: NDArray[np.float64],
    probabilities: NDArray[np.floating[Any]],
    y: NDArray[np.int64],
) -> tuple[ValidatedBins, ...]:
    """Return the bins of everybody and of every group, for each label.

    `matrix` [rows, features] is encoded, `probabilities` [rows, classes] are of models that have not seen the row, `y`
    [rows] class positions.
    """
    chances = probability_bins.probabilities(spec, probabilities)
    bins = probability_bins.bins(chances)
    came = np.array([probability_bins.happened(spec, position) for position in range(len(spec.target.classes))])[y]
    groups = SensitiveGroups(spec, reference)
    places = np.array(groups.places(matrix), dtype=np.intp)
    masks = {("", ""): np.ones(len(matrix), dtype=bool)}
    for position, (column, names) in enumerate(groups.names.items()):
        masks |= {(column, name): places[:, position] == place for place, name in enumerate(names)}
    return tuple(
        count_label(*group, label, chances[mask, place], bins[mask, place], came[mask, place])
        for group, mask in masks.items()
        for place, label in enumerate(probability_bins.labels(spec))
        if mask.any()
    )


def count_label(
    grouping: str,
    group: str,
    label: str,
    chance: NDArray[np.float64],
    bins: NDArray[np.uint8],
    came: NDArray[np.bool_],
) -> ValidatedBins:
    """Return the bins of rows, with probability [rows], bin [rows] and whether the label came true [rows]."""
    within = [chance[bins == place] for place in range(probability_bins.BINS)]
    return ValidatedBins(
        grouping=grouping,
        group=group,
        label=label,
        events=tuple(np.bincount(bins[came], minlength=probability_bins.BINS).tolist()),
        others=tuple(np.bincount(bins[~came], minlength=probability_bins.BINS).tolist()),
        means=_by_bin(within, np.mean, MIDDLES),
        spreads=_by_bin(within, mean_difference, np.zeros(probability_bins.BINS)),
        logits=_by_bin([log_odds(rows) for rows in within], np.mean, log_odds(MIDDLES)),
    )


def mean_difference(values: NDArray[np.float64]) -> float:
    """Return the mean difference of two values [rows], each with each and itself."""
    ranks = np.arange(1, len(values) + 1)
    return float(2 * (2 * ranks - len(values) - 1) @ np.sort(values) / len(values) ** 2)


def log_odds(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of probabilities, which are kept within the middles of the outermost bins."""
    kept = np.clip(chance, EDGE, 1 - EDGE)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def _by_bin(
    within: list[NDArray[np.float64]], of: Callable[[NDArray[np.float64]], Any], empty: NDArray[np.float64]
) -> tuple[float, ...]:
    """Return a figure of each bin's rows, and of a bin without one what stands for it."""
    return tuple(float(of(rows)) if len(rows) else float(none) for rows, none in zip(within, empty, strict=True))
