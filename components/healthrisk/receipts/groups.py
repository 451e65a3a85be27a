"""The sensitive groups of rows, on cuts that stay the same for the life of a version."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.reference import NumberCounts, Reference
from healthrisk.spec import Column, DatasetSpec
from healthrisk.spec.groups import group_names, group_places

# Values of a number are many; NaN is never found again.
_REMEMBERED = 4096


class SensitiveGroups:
    """The groups of a version's sensitive columns: `names` by column, in the spec's order.

    A number's bands are the spec's; where it gives none they are cut near the reference's quartiles.
    """

    def __init__(self, spec: DatasetSpec, reference: Reference) -> None:
        self.names: dict[str, tuple[str, ...]] = {}
        self._places: list[tuple[int, _Places]] = []
        for name in spec.sensitive:
            known, column = reference.features[name], spec.by_name[name]
            cuts = spec.evidence.bands.get(name) or (_quartiles(known) if isinstance(known, NumberCounts) else ())
            self.names[name] = group_names(column, cuts)
            self._places.append((spec.features.index(name), _Places(column, cuts)))

    def places(self, matrix: NDArray[np.float64]) -> list[tuple[int, ...]]:
        """Return, for each row of an encoded matrix [rows, features], its place in each column's groups."""
        if len(matrix) == 1:
            # Of one row a slice of each column costs more than the whole row as a list.
            (row,) = matrix.tolist()
            return [tuple([places[row[feature]] for feature, places in self._places])]
        columns = [[places[value] for value in matrix[:, feature].tolist()] for feature, places in self._places]
        return list(zip(*columns, strict=True)) if columns else [()] * len(matrix)


class _Places(dict[float, int]):
    """The place of each value seen so far: one row costs a look-up instead of a dozen calls of numpy."""

    def __init__(self, column: Column, cuts: Sequence[float]) -> None:
        super().__init__()
        self._column, self._cuts = column, cuts

    def __missing__(self, value: float) -> int:
        (place,) = group_places(self._column, self._cuts, np.array([value])).tolist()
        if len(self) >= _REMEMBERED:
            self.clear()
        self[value] = place
        return int(place)


def _quartiles(known: NumberCounts) -> tuple[float, ...]:
    """Return the edges up to which a quarter, half and three quarters of the reference's values lie."""
    cumulated = np.cumsum(known.counts[:-1])
    places = np.searchsorted(cumulated, np.array([0.25, 0.5, 0.75]) * sum(known.counts))
    edges = np.asarray(known.edges)[np.minimum(places, len(known.edges) - 1)]
    return tuple(np.unique(edges).tolist())
