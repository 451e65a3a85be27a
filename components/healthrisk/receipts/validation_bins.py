"""What a version's validation looks like in the bins of its receipts: what live performance stands beside."""

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
_LEAST = 1e-12


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
    places = [bins == place for place in range(probability_bins.BINS)]
    within = [(chance[mask], came[mask]) for mask in places]
    return ValidatedBins(
        grouping=grouping,
        group=group,
        label=label,
        events=tuple(np.bincount(bins[came], minlength=probability_bins.BINS).tolist()),
        others=tuple(np.bincount(bins[~came], minlength=probability_bins.BINS).tolist()),
        means=tuple(
            float(rows.mean()) if len(rows) else middle
            for (rows, _), middle in zip(within, MIDDLES.tolist(), strict=True)
        ),
        ordered=tuple(_ordered(*rows) for rows in within),
        event_logits=_moments(within, of_events=True),
        other_logits=_moments(within, of_events=False),
    )


def _ordered(chance: NDArray[np.float64], came: NDArray[np.bool_]) -> float:
    """Return the share of pairs of an event and another in which the event's probability is higher, ties by half.

    Where there is no pair, the share that there would be if the probabilities p of rows [rows] meant what they say: an
    event of p_i stands beside another of p_j in p_i (1 - p_j) of pairs, and the other way round in p_j (1 - p_i).
    """
    events, others = chance[came], chance[~came]
    if len(events) and len(others):
        ascending = np.sort(others)
        below = (ascending.searchsorted(events, "left") + ascending.searchsorted(events, "right")) / 2
        return float(below.mean() / len(others))
    if not len(chance):
        return 0.5
    ranks, mean = np.arange(1, len(chance) + 1), chance.mean()
    difference = 2 * (2 * ranks - len(chance) - 1) @ np.sort(chance) / len(chance) ** 2
    return 0.5 + min(float(difference / max(4 * mean * (1 - mean), _LEAST)), 0.5)


def _moments(
    within: list[tuple[NDArray[np.float64], NDArray[np.bool_]]], *, of_events: bool
) -> tuple[tuple[float, ...], ...]:
    """Return mean and standard deviation [2, bins] of the log-odds of events, or of others.

    In a bin of none of them every row stands for as much of one as its probability says.
    """
    moments = []
    for (chance, came), middle in zip(within, log_odds(MIDDLES).tolist(), strict=True):
        weights = (came if of_events else ~came).astype(np.float64)
        if not weights.sum():
            weights = np.maximum(chance if of_events else 1 - chance, _LEAST)
        if not len(chance):
            moments.append((middle, 0.0))
            continue
        logits = log_odds(chance)
        mean = float(np.average(logits, weights=weights))
        moments.append((mean, float(np.sqrt(np.average((logits - mean) ** 2, weights=weights)))))
    return tuple(zip(*moments, strict=True))


def log_odds(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of probabilities, which are kept within the middles of the outermost bins."""
    kept = np.clip(chance, EDGE, 1 - EDGE)
    return np.asarray(np.log(kept) - np.log1p(-kept))
