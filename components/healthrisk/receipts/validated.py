"""What a version's validation looks like in the bins of its receipts: what live performance stands beside."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.reference import Reference, ValidatedBins
from healthrisk.receipts import judged
from healthrisk.receipts.groups import SensitiveGroups
from healthrisk.spec import DatasetSpec

MIDDLES = (np.arange(judged.BINS) + 0.5) / judged.BINS


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
    chances = judged.probabilities(spec, probabilities)
    bins = judged.bins(chances)
    came = np.array([judged.happened(spec, position) for position in range(len(spec.target.classes))])[y]
    groups = SensitiveGroups(spec, reference)
    places = np.array(groups.places(matrix), dtype=np.intp)
    masks = {("", ""): np.ones(len(matrix), dtype=bool)}
    for position, (column, names) in enumerate(groups.names.items()):
        masks |= {(column, name): places[:, position] == place for place, name in enumerate(names)}
    return tuple(
        _count(*group, label, chances[mask, place], bins[mask, place], came[mask, place])
        for group, mask in masks.items()
        for place, label in enumerate(judged.labels(spec))
        if mask.any()
    )


def _count(
    grouping: str,
    group: str,
    label: str,
    chance: NDArray[np.float64],
    bins: NDArray[np.uint8],
    came: NDArray[np.bool_],
) -> ValidatedBins:
    rows = np.bincount(bins, minlength=judged.BINS)
    sums = np.bincount(bins, weights=chance, minlength=judged.BINS)
    return ValidatedBins(
        grouping=grouping,
        group=group,
        label=label,
        events=tuple(np.bincount(bins[came], minlength=judged.BINS).tolist()),
        others=tuple(np.bincount(bins[~came], minlength=judged.BINS).tolist()),
        means=tuple(np.where(rows > 0, sums / np.maximum(rows, 1), MIDDLES).tolist()),
    )
