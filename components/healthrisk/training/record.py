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


class Rung(Document):
    """The candidates that were judged on a sample of so many rows."""

    rows: int
    candidates: tuple[Candidate, ...]


class SearchRecord(Document):
    """How hyper-parameters were searched: the folds, the metric that chose, and every rung, the last one with the best.

    A search that judges every candidate on every row has one rung.
    """

    folds: int
    metric: ScoreMetric
    rungs: tuple[Rung, ...]


class CrossValidation(Document):
    """Scores of repeated cross-validation by metric: each fold's [repeats * folds], and their mean with interval."""

    folds: int
    repeats: int
    scores: dict[str, tuple[float, ...]]
    intervals: dict[str, CrossValidated]


class TrainingRecord(Document):
    """How one family was trained on `rows` rows, and cross-validated on `judged` of them."""

    family: Family
    seed: int
    rows: int
    judged: int
    parameters: Parameters
    search: SearchRecord
    cross_validation: CrossValidation
