"""A gate: a bound that a figure must keep before a model may be registered, and how the figure did."""

import math
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from healthrisk.documents import Document
from healthrisk.spec.metric import GateMetric


class Verdict(StrEnum):
    """Whether a gate's bound is kept; `inconclusive` where there are too few cases to say."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Gate(Document):
    """The bound of a metric: its least value where higher is better, its greatest where lower is."""

    metric: GateMetric
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        metric = self.metric
        bound, other = (self.min, self.max) if metric.better == "higher" else (self.max, self.min)
        if bound is None or other is not None:
            which = "min" if metric.better == "higher" else "max"
            raise ValueError(f"gate {metric.name!r}: {metric.better} is better, so give {which} and nothing else")
        low, high = metric.range
        if not low <= bound <= high:
            raise ValueError(f"gate {metric.name!r}: {bound:g} is out of the metric's range")
        return self

    @property
    def bound(self) -> float:
        """The bound, as a number."""
        return self.min if self.min is not None else self.max if self.max is not None else math.nan

    @property
    def relation(self) -> str:
        """How a value must stand to the bound, as a sign."""
        return ">=" if self.metric.better == "higher" else "<="

    def judge(self, value: float) -> Verdict:
        """Hold a value against the bound; NaN, a figure that could not be computed, keeps none."""
        kept = value >= self.bound if self.metric.better == "higher" else value <= self.bound
        return Verdict.PASSED if kept else Verdict.FAILED


class GateResult(Document):
    """How a figure did at a gate.

    `group` is the label of the column whose groups are compared, where a metric is of groups; `value` is None where it
    could not be computed; `reason` says why the verdict is what it is, where the bound alone does not.
    """

    gate: Gate
    group: str = ""
    value: float | None
    verdict: Verdict
    reason: str = ""

    @property
    def label(self) -> str:
        """What was judged, in words."""
        return self.gate.metric.label + (f" by {self.group.lower()}" if self.group else "")

    @property
    def in_words(self) -> str:
        """The figure, its bound and the verdict on one line."""
        shown = "unknown" if self.value is None else f"{self.value:.3f}"
        return f"{self.label} {shown} {self.gate.relation} {self.gate.bound:g} {self.verdict}"
