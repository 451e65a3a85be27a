"""What a training step writes beside its model: the parameters searched and chosen, and the cross-validated scores."""

from pydantic import JsonValue

from healthrisk.documents import Document
from healthrisk.spec import Family
from healthrisk.spec.metric import ScoreMetric
from healthrisk.training.intervals import CrossValidated

# scikit-learn's names and values.
Parameters = dict[str, JsonValue]


class Candidate(Document):
    """One point of the search: its parameters, and mean and standard deviation of the metric over the folds."""

    parameters: Parameters
    mean: float
    sd: float


class SearchRecord(Document):
    """How hyper-parameters were searched: the folds, the metric that chose, and every candidate."""

    folds: int
    metric: ScoreMetric
    candidates: tuple[Candidate, ...]


class CrossValidation(Document):
    """Scores of repeated cross-validation by metric: each fold's [repeats * folds], and their mean with interval."""

    folds: int
    repeats: int
    scores: dict[str, tuple[float, ...]]
    intervals: dict[str, CrossValidated]


class TrainingRecord(Document):
    """How one family was trained on `rows` rows."""

    family: Family
    seed: int
    rows: int
    parameters: Parameters
    search: SearchRecord
    cross_validation: CrossValidation
