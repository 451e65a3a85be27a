"""Champion and challenger on the same patients: the log loss of both on the rows of the new table, row by row.

Figures of two tables, or of two splits of one, differ by more than two models do: only a paired difference says which
is better. The challenger's probabilities are those of models that have not seen a row. The champion may have seen some,
where the new table holds rows of its own: then it looks better than it is, and stays.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from healthrisk.bundle import Bundle
from healthrisk.documents import Document
from healthrisk.errors import HealthriskError
from healthrisk.inference.scorer import Scorer
from healthrisk.spec import DatasetSpec
from healthrisk.training.intervals import CONFIDENCE


class IncomparableError(HealthriskError):
    """The champion cannot score the new table's rows: its columns or classes differ."""


class Comparison(Document):
    """The mean log loss of both on `rows` rows, and how much less the challenger's is, with its 95 % interval."""

    rows: int
    champion: float
    challenger: float
    gain: float
    low: float
    high: float

    @property
    def challenger_is_better(self) -> bool:
        """True if even the lower end of the interval is a gain."""
        return self.low > 0

    @property
    def summary(self) -> str:
        """The figures, for people."""
        return (
            f"log loss {self.challenger:.4f}, the champion's {self.champion:.4f} on the same {self.rows} rows;"
            f" gain {self.gain:.4f} ({self.low:.4f} to {self.high:.4f})"
        )


def compare(
    champion: Bundle,
    spec: DatasetSpec,
    rows: tuple[NDArray[np.float64], NDArray[np.int64]],
    probabilities: NDArray[np.float64],
) -> Comparison:
    """Compare on an encoded matrix and class positions, given the challenger's `probabilities` [rows, classes].

    Raises:
        IncomparableError: the champion cannot score these rows.
    """
    matrix, y = rows
    served = Scorer(champion).probabilities(matrix[:, _places(champion.spec, spec)])
    old, new = _losses(served.astype(np.float64), y), _losses(probabilities, y)
    saved = old - new
    mean, error = float(saved.mean()), float(saved.std(ddof=1) / np.sqrt(len(saved)))
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(saved) - 1)) * error
    return Comparison(
        rows=len(y),
        champion=float(old.mean()),
        challenger=float(new.mean()),
        gain=mean,
        low=mean - margin,
        high=mean + margin,
    )


def _places(old: DatasetSpec, new: DatasetSpec) -> list[int]:
    """Return where the old spec's features stand in the new one's matrix."""
    if [cls.value for cls in old.target.classes] != [cls.value for cls in new.target.classes]:
        raise IncomparableError("its classes differ")
    for column in old.columns:
        same = new.by_name.get(column.name)
        if same is None or same.code_values != column.code_values:
            raise IncomparableError(f"the table has no column {column.name!r} as it knows it")
    return [new.features.index(name) for name in old.features]


def _losses(p: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    # A served float32 may be 0; scikit-learn's log loss keeps as far from it.
    return -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).eps))
