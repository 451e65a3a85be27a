"""What a metric is called, which way is better, and within which bounds it lies: one object for each.

The functions that compute them need scikit-learn, which no server has: `healthrisk.training.metrics` binds one to each
metric of `SCORES` and refuses to be imported where one lacks.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic_core import core_schema


@dataclass(frozen=True)
class Metric:
    """A figure on a model or on the data it learned from.

    `name` stands in specs and documents, `label` where people read; values lie within `range`, ends included.
    """

    name: str
    label: str
    better: Literal["higher", "lower"] = "higher"
    range: tuple[float, float] = (0.0, 1.0)

    @property
    def sign(self) -> int:
        """The factor that makes a higher value a better one."""
        return 1 if self.better == "higher" else -1

    def is_better(self, candidate: float, other: float) -> bool:
        """True if `candidate` is a strictly better value than `other`."""
        return self.sign * candidate > self.sign * other


ACCURACY = Metric("accuracy", "Accuracy")
F1_MACRO = Metric("f1_macro", "F1, macro")
ROC_AUC = Metric("roc_auc", "ROC AUC")
LOG_LOSS = Metric("log_loss", "Log loss", "lower", (0.0, math.inf))
BRIER = Metric("brier", "Brier score", "lower", (0.0, 2.0))
SUSPECT_LABELS = Metric("suspect_labels", "Training labels that look wrong", "lower")
SENSITIVITY_DIFFERENCE = Metric("sensitivity_difference", "Difference of sensitivity", "lower")

# Computed from probabilities, in every fold: what models may be chosen by.
SCORES = (ACCURACY, F1_MACRO, ROC_AUC, LOG_LOSS, BRIER)
# Figures of the evidence, which a gate may bound.
EVIDENCE = (SUSPECT_LABELS, SENSITIVITY_DIFFERENCE)
# Shown in reports in this order.
REPORTED = (
    ACCURACY,
    Metric("precision", "Precision"),
    Metric("recall", "Recall"),
    Metric("f1", "F1"),
    Metric("precision_macro", "Precision, macro"),
    Metric("recall_macro", "Recall, macro"),
    F1_MACRO,
    Metric("precision_weighted", "Precision, weighted"),
    Metric("recall_weighted", "Recall, weighted"),
    Metric("f1_weighted", "F1, weighted"),
    ROC_AUC,
    BRIER,
    LOG_LOSS,
)
BY_NAME = {metric.name: metric for metric in (*REPORTED, *EVIDENCE)}


@dataclass(frozen=True)
class _OneOf:
    """How pydantic reads one of these metrics by its name, and writes it."""

    metrics: tuple[Metric, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        write = core_schema.plain_serializer_function_ser_schema(lambda metric: metric.name)
        return core_schema.no_info_plain_validator_function(self._read, serialization=write)

    def _read(self, value: object) -> Metric:
        for metric in self.metrics:
            if value in (metric, metric.name):
                return metric
        raise ValueError(f"unknown metric, expected one of {', '.join(metric.name for metric in self.metrics)}")


# Fields of documents that hold a metric, written by its name.
ScoreMetric = Annotated[Metric, _OneOf(SCORES)]
GateMetric = Annotated[Metric, _OneOf((*SCORES, *EVIDENCE))]
