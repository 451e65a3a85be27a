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

    `name` stands in specs and documents, `label` where people read; values lie within `range`, ends included. A metric
    that is better `within` bounds has a best value between them. One at a threshold is a share of the rows whose risk
    lies above or below it; one `of_groups` judges the groups of a sensitive column. `averaged` says over what a metric
    is a mean where there are more than two classes.
    """

    name: str
    label: str
    better: Literal["higher", "lower", "within"] = "higher"
    range: tuple[float, float] = (0.0, 1.0)
    at_threshold: bool = False
    of_groups: bool = False
    averaged: str = ""

    @property
    def sign(self) -> int:
        """The factor that makes a higher value a better one."""
        return -1 if self.better == "lower" else 1

    @property
    def phrase(self) -> str:
        """The label within a sentence: an acronym keeps its capitals."""
        return (
            self.label
            if self.label[1:2].isupper() or self.label[1:2].isdigit()
            else self.label[0].lower() + self.label[1:]
        )

    def label_for(self, classes: int) -> str:
        """The label for so many classes."""
        return f"{self.label}, {self.averaged}" if self.averaged and classes > 2 else self.label


ACCURACY = Metric("accuracy", "Accuracy")
F1_MACRO = Metric("f1_macro", "F1, macro")
ROC_AUC = Metric("roc_auc", "ROC AUC", averaged="macro, one against the rest")
LOG_LOSS = Metric("log_loss", "Log loss", "lower", (0.0, math.inf))
BRIER = Metric("brier", "Brier score", "lower", (0.0, 2.0))
SUSPECT_LABELS = Metric("suspect_labels", "Training labels that look wrong", "lower")
SENSITIVITY_DIFFERENCE = Metric("sensitivity_difference", "Difference of sensitivity", "lower", of_groups=True)

_ANY = (-math.inf, math.inf)
GROUP_CALIBRATION = Metric("group_calibration", "Calibration in the large", "within", _ANY, of_groups=True)
CALIBRATION_SLOPE = Metric("calibration_slope", "Calibration slope", "within", _ANY)
IN_THE_LARGE = Metric("calibration_in_the_large", "Calibration in the large", "within", _ANY)
SENSITIVITY = Metric("sensitivity", "Sensitivity", at_threshold=True)
SPECIFICITY = Metric("specificity", "Specificity", at_threshold=True)
PPV = Metric("ppv", "Positive predictive value", at_threshold=True)
NPV = Metric("npv", "Negative predictive value", at_threshold=True)
NET_BENEFIT = Metric("net_benefit", "Net benefit above acting on all or nobody", range=_ANY)
LOG_LOSS_GAIN = Metric("log_loss_gain", "Log loss saved beside the class frequencies", range=_ANY)
ACCURACY_GAIN = Metric("accuracy_gain", "Accuracy above the no-information rate", range=_ANY)
BASELINE_GAIN = Metric("baseline_gain", "Accuracy above the best rule", range=_ANY)
SITE_ROC_AUC = Metric("site_roc_auc", "ROC AUC at the site where it is least, left out of training")
LEAST_RECALL = Metric("least_recall", "Recall of the class found least")

# Computed from probabilities, in every fold: what models may be chosen by.
SCORES = (ACCURACY, F1_MACRO, ROC_AUC, LOG_LOSS, BRIER)
# Figures of the probabilities of every row, each of a model that has not seen it; they have intervals.
JUDGED = (
    CALIBRATION_SLOPE,
    IN_THE_LARGE,
    SENSITIVITY,
    SPECIFICITY,
    PPV,
    NPV,
    NET_BENEFIT,
    LOG_LOSS_GAIN,
    ACCURACY_GAIN,
    BASELINE_GAIN,
    LEAST_RECALL,
)
# Figures of the evidence, which a gate may bound.
EVIDENCE = (SUSPECT_LABELS, SENSITIVITY_DIFFERENCE, GROUP_CALIBRATION, SITE_ROC_AUC, *JUDGED)
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
