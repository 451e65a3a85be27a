"""A gate: a bound that a figure must keep before a model may be registered, and how the figure did."""

import math
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from healthrisk.documents import Document
from healthrisk.spec.metric import (
    ACCURACY_GAIN,
    CALIBRATION_SLOPE,
    IN_THE_LARGE,
    LEAST_RECALL,
    LOG_LOSS_GAIN,
    NET_BENEFIT,
    GateMetric,
)


class Verdict(StrEnum):
    """Whether a figure passes its gate; `inconclusive` where there are too few cases to say."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Gate(Document):
    """The bounds of a metric: its least value where higher is better, its greatest where lower is, or both.

    `at` is the risk from which one acts, for metrics that are judged at a threshold; `column` is the sensitive column
    whose groups are judged, for metrics of groups: without it, those of each that has no gate of its own.
    """

    metric: GateMetric
    min: float | None = None
    max: float | None = None
    at: float | None = Field(default=None, gt=0, lt=1)
    column: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        metric = self.metric
        given = {which for which in ("min", "max") if getattr(self, which) is not None}
        wanted = {"higher": {"min"}, "lower": {"max"}, "within": {"min", "max"}}[metric.better]
        if given != wanted:
            words = " and ".join(sorted(wanted, reverse=True)) + (
                "" if metric.better == "within" else " and nothing else"
            )
            raise ValueError(f"gate {metric.name!r}: {metric.better} is better, so give {words}")
        low, high = metric.range
        if wrong := [bound for bound in (self.min, self.max) if bound is not None and not low <= bound <= high]:
            raise ValueError(f"gate {metric.name!r}: {wrong[0]:g} is out of the metric's range")
        if self._least > self._most:
            raise ValueError(f"gate {metric.name!r}: min {self.min:g} is above max {self.max:g}")
        if metric.at_threshold != (self.at is not None):
            rule = "say at which risk one acts, as in `at: 0.3`" if metric.at_threshold else "it has no threshold `at`"
            raise ValueError(f"gate {metric.name!r}: {rule}")
        if self.column and not metric.of_groups:
            raise ValueError(f"gate {metric.name!r}: it compares no groups, so it has no `column`")
        return self

    @property
    def _least(self) -> float:
        return -math.inf if self.min is None else self.min

    @property
    def _most(self) -> float:
        return math.inf if self.max is None else self.max

    @property
    def bound(self) -> float:
        """The bound, as a number; of two the lower."""
        return self._most if self.min is None else self.min

    @property
    def expected(self) -> str:
        """How a value must stand to the bounds."""
        if self.metric.better == "within":
            return f"within {self.min:g} to {self.max:g}"
        return f"{'>=' if self.metric.better == 'higher' else '<='} {self.bound:g}"

    def label_for(self, classes: int) -> str:
        """What is judged, in words, for so many classes."""
        return self.metric.label_for(classes) + ("" if self.at is None else f" at {self.at:g}")

    def judge(self, value: float) -> Verdict:
        """Hold a value against the bounds; NaN, a figure that could not be computed, fails."""
        return Verdict.PASSED if self._least <= value <= self._most else Verdict.FAILED

    def judge_interval(self, low: float, high: float) -> Verdict:
        """Hold an interval against the bounds: one that reaches across a bound says neither."""
        if high < self._least or low > self._most:
            return Verdict.FAILED
        return Verdict.PASSED if self._least < low and high < self._most else Verdict.INCONCLUSIVE


class GateResult(Document):
    """How a figure did at a gate.

    `group` is the label of the column whose groups are compared, where a metric is of groups; `classes` is how many the
    outcome has; `value` is None where it
    could not be computed; `low` and `high` are its 95 % interval, where it has one; `reason` says why the verdict is
    what it is, where the bound alone does not.
    """

    gate: Gate
    group: str = ""
    classes: int = 2
    value: float | None
    low: float | None = None
    high: float | None = None
    verdict: Verdict
    reason: str = ""

    @property
    def label(self) -> str:
        """What was judged, in words."""
        return self.gate.label_for(self.classes) + (f" by {self.group.lower()}" if self.group else "")

    @property
    def figure(self) -> str:
        """The value with its interval, in words."""
        if self.value is None:
            return "unknown"
        return f"{self.value:z.3f}" + ("" if self.low is None else f" ({self.low:z.3f} to {self.high:z.3f})")

    @property
    def summary(self) -> str:
        """The figure, its bound and the verdict on one line."""
        return f"{self.label} {self.figure} {self.gate.expected} {self.verdict}"


# A class that is never found must be said, whatever else is asked of a model.
EVERY_CLASS = Gate(metric=LEAST_RECALL, min=0)
# For a spec that names none: probabilities that mean what they say within reason (a slope of 0.7 stretches a risk of
# 20 % to 12 or 31 %; half a unit of log-odds makes 30 % of 20 %), and a model that is worth more than none.
DEFAULT_GATES = (
    Gate(metric=LOG_LOSS_GAIN, min=0),
    Gate(metric=ACCURACY_GAIN, min=0),
    Gate(metric=CALIBRATION_SLOPE, min=0.7, max=1.4),
    Gate(metric=IN_THE_LARGE, min=-0.5, max=0.5),
    Gate(metric=NET_BENEFIT, min=0),
    EVERY_CLASS,
)
