"""One yes/no question out of a prediction of any number of classes, so that subgroups and net benefit can be computed.

With two classes the event is the second, predicted where it is the likelier. With more it is any class that the last
risk level names, predicted where that level begins: a rare class is nobody's likeliest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from healthrisk.spec import DatasetSpec


@dataclass(frozen=True)
class Event:
    """Per row whether the event happened, whether it was predicted, and its probability."""

    happened: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    probability: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> "Event":
        """Return the rows of a mask."""
        return Event(self.happened[mask], self.predicted[mask], self.probability[mask])

    @property
    def labels(self) -> NDArray[np.int64]:
        """The outcome as class positions of two classes."""
        return self.happened.astype(np.int64)

    @property
    def both(self) -> NDArray[np.float64]:
        """The probabilities [rows, 2] of no event and event."""
        return np.column_stack([1 - self.probability, self.probability])


def binarize(spec: DatasetSpec, y: NDArray[np.int64], p: NDArray[np.float64]) -> Event:
    """Return the event for class positions [rows] and probabilities [rows, classes]."""
    positions = list(spec.event_positions)
    chance = np.clip(p[:, positions].sum(axis=1, dtype=np.float64), 0, 1)
    predicted = np.isin(p.argmax(axis=1), positions) if spec.is_binary else chance >= spec.event_from
    return Event(np.isin(y, positions), predicted, chance)


def name(spec: DatasetSpec) -> str:
    """Return what the event is called."""
    return " or ".join(spec.target.classes[position].name for position in spec.event_positions)
