"""Groups of people by one sensitive column: a code's meanings, a number's bands, and those whose value is missing."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from healthrisk.spec.columns import Column


def group_names(column: Column, cuts: Sequence[float]) -> tuple[str, ...]:
    """Return the groups' names in the spec's order, `missing` last; `cuts` are the inner bounds of a number's bands."""
    if column.kind == "code":
        return (*column.meanings.values(), "missing")
    between = [f"{low:g} to below {high:g}" for low, high in pairwise(cuts)]
    return (f"below {cuts[0]:g}", *between, f"{cuts[-1]:g} or more", "missing")


def group_places(column: Column, cuts: Sequence[float], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the place of each encoded value [rows] among the `group_names`."""
    if column.kind == "code":
        codes = np.array(list(column.code_values.values()))
        places = (values[:, None] == codes).argmax(axis=1)
        return np.where(np.isnan(values), len(codes), places)
    # A value at a bound belongs to the band above; NaN sorts behind every bound.
    return np.where(np.isnan(values), len(cuts) + 1, np.searchsorted(cuts, values, side="right"))
