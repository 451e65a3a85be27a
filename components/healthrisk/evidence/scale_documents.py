"""Documents of how much of a table was looked at, and whether more rows would help."""

from typing import Literal

from healthrisk.documents import Document
from healthrisk.spec import Family
from healthrisk.training.intervals import Estimate


class RungSize(Document):
    """How many candidates a rung of a search judged, and on how many rows."""

    candidates: int
    rows: int


class Sampled(Document):
    """The rows of training part and hold-out, those of them that are judged, and those that full evidence refits on.

    `searched` are the rungs of each family's search; `reduced` is true if by the spec's rules any of this was less than
    everything.
    """

    reduced: bool
    searched: dict[Family, tuple[RungSize, ...]]
    train: int
    test: int
    judged_train: int
    judged_test: int
    refitted: int

    @property
    def whole(self) -> bool:
        """True if nothing was left out."""
        return (self.train, self.test) == (self.judged_train, self.judged_test)


class CurvePoint(Document):
    """The log loss, on the same rows for every point, of models fitted on so many rows."""

    rows: int
    log_loss: Estimate


class LearningCurve(Document):
    """The points by rising size, judged on `judged` rows; `gain` is what the last doubling saves, row by row.

    `negligible` is a gain that changes no decision. `sample_cost` is the log loss, on the hold-out, of a model of the
    judged rows above that of the model of all rows; None where all rows are judged.
    """

    judged: int
    points: tuple[CurvePoint, ...]
    gain: Estimate | None
    negligible: float
    sample_cost: Estimate | None

    @property
    def verdict(self) -> Literal["more would help", "hardly any more", "not shown"]:
        """Whether twice as many rows of the same kind would help: what the last doubling did."""
        if self.gain is None:
            return "not shown"
        if self.gain.high < self.negligible:
            return "hardly any more"
        return "more would help" if self.gain.low > 0 else "not shown"
