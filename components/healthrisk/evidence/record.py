"""The record of all evidence on a winner, as the report and the registry read it."""

from healthrisk.config import Level
from healthrisk.documents import Document
from healthrisk.evidence.clinical_documents import (
    LinearModel,
    OperatingPoint,
    PredictionSets,
    SampleSize,
    SmoothCalibration,
)
from healthrisk.evidence.documents import (
    AblationFigures,
    BaselineFigures,
    Calibration,
    ClassCalibration,
    Cohort,
    ConditionFigures,
    Detection,
    Explanation,
    GroupComparison,
    GroupFigures,
    ImputationFigures,
    MissingSite,
    NetBenefit,
    Site,
    SuspectLabels,
)
from healthrisk.evidence.scale_documents import LearningCurve, Sampled
from healthrisk.spec import Family, GateResult
from healthrisk.training.intervals import Estimate
from healthrisk.training.record import CrossValidation


class EvidenceRecord(Document):
    """All evidence on a winner. What only the full level gathers is None in the quick one.

    `repeated` counts rows of the hold-out that are a training row to the last value.
    """

    level: Level
    event: str
    rows: int
    sampled: Sampled
    learning_curve: LearningCurve
    cohort: Cohort
    repeated: int
    calibration: Calibration
    calibration_by_class: tuple[ClassCalibration, ...]
    gates: tuple[GateResult, ...]
    net_benefit: NetBenefit
    fairness: tuple[GroupComparison, ...]
    intersections: tuple[GroupFigures, ...]
    # The share of the commonest class: the accuracy of who knows nothing else.
    no_information: Estimate
    sample_size: SampleSize | None
    operating: tuple[OperatingPoint, ...]
    smooth: tuple[SmoothCalibration, ...]
    sets: PredictionSets | None
    linear: LinearModel | None
    baselines: tuple[BaselineFigures, ...]
    labels: SuspectLabels
    explanation: Explanation
    ablations: tuple[AblationFigures, ...]
    sites: tuple[Site | MissingSite, ...]
    left_out: tuple[Site, ...] = ()
    imputations: tuple[ImputationFigures, ...] | None = None
    stress: tuple[ConditionFigures, ...] | None = None
    detection: tuple[Detection, ...] | None = None
    nested: dict[Family, CrossValidation] | None = None
