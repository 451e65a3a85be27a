"""What of a prediction its outcome is held against, in the same 50 bins everywhere: on receipts, in counts, in metrics.

With two classes that is the event's probability alone. With more it is the event's, which is that of the classes of the
highest risk level together, and each class's.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.spec import DatasetSpec

BINS = 50
EVENT = "event"


def labels(spec: DatasetSpec) -> tuple[str, ...]:
    """Return the names of what is judged, the event first."""
    return (EVENT, *(() if spec.is_binary else (f"class {cls.value}" for cls in spec.target.classes)))


class RowBins:
    """The bins of rows one by one, as `bins` of `probabilities` has them: of one row a few calls of numpy cost more."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._binary, self._event = spec.is_binary, spec.event_positions

    def of(self, given: NDArray[np.float32]) -> list[list[int]]:
        """Return the bins of each row's labels [rows][labels], given probabilities of all classes [rows, classes]."""
        if self._binary:
            return [[_bin(chance)] for chance in given[:, 1].tolist()]
        return [[_bin(self._of_event(row)), *map(_bin, row)] for row in given.tolist()]

    def _of_event(self, row: list[float]) -> float:
        event = 0.0
        for position in self._event:
            event += row[position]
        return event


def _bin(chance: float) -> int:
    # An event's classes may add up to a little more than one.
    return min(int(chance * BINS), BINS - 1)


def probabilities(spec: DatasetSpec, given: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the probability of each label [rows, labels] out of those of all classes [rows, classes]."""
    wide = given.astype(np.float64)
    if spec.is_binary:
        return wide[:, 1:]
    event = np.clip(wide[:, list(spec.event_positions)].sum(axis=1), 0, 1)
    return np.column_stack([event, wide])


def happened(spec: DatasetSpec, position: int) -> tuple[bool, ...]:
    """Return which labels came true [labels] where the outcome is the class at a position."""
    event = position in spec.event_positions
    return (event, *(() if spec.is_binary else (place == position for place in range(len(spec.target.classes)))))


def bins(chances: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the bin of each probability: of equal width, each with its lower bound, the last with 1 as well.

    In float64: in float32 a risk just below a level's bound would round into the bin above.
    """
    return np.minimum(chances * BINS, BINS - 1).astype(np.uint8)
