"""What evaluation found of every model, which one it chose and by what rule, and how that one did at the gates."""

from pydantic import Field

from healthrisk.documents import Document
from healthrisk.spec import Family, GateResult, Verdict
from healthrisk.spec.metric import ScoreMetric
from healthrisk.training.intervals import Interval
from healthrisk.training.record import CrossValidation, Parameters


class ClassFigures(Document):
    """How one class was predicted; `rows` is how many rows belong to it."""

    name: str
    precision: float
    recall: float
    f1: float
    rows: int


class Figures(Document):
    """What probabilities are worth on `rows` rows.

    `scores` are by metric; `confusion` [classes, classes] counts rows by true and predicted class; `intervals` are
    bootstrap intervals of some metrics.
    """

    rows: int
    scores: dict[str, float]
    by_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    intervals: dict[str, Interval] = Field(default_factory=dict)


class RocCurve(Document):
    """The points of a ROC curve, by falling threshold."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    thresholds: tuple[float, ...]


class CalibrationCurve(Document):
    """Mean prediction, observed share and size of groups of rows with rising predictions."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    rows: tuple[int, ...]


class Curves(Document):
    """The curves of one class against the rest."""

    roc: RocCurve
    calibration: CalibrationCurve


class Importance(Document):
    """The mean loss of the selection metric, and its standard deviation, when a feature's values are shuffled."""

    feature: str
    label: str
    mean: float
    sd: float


class ModelFigures(Document):
    """One family: its parameters and what was measured of it. `curves` are by class, of out-of-fold probabilities."""

    parameters: Parameters
    cross_validation: CrossValidation
    train: Figures
    test: Figures
    curves: dict[str, Curves]
    importance: tuple[Importance, ...]


class SplitRows(Document):
    """The number of rows for training and of those held out."""

    train: int
    test: int


class Override(Document):
    """Who let a model be registered that fails these gates, given in words, when (ISO 8601, UTC) and why."""

    reason: str
    by: str
    at: str
    gates: tuple[str, ...]

    @property
    def statement(self) -> str:
        """The override in a sentence."""
        return f"overridden by {self.by} at {self.at}: {self.reason}"


class Decision(Document):
    """The choice among the trained families by the selection metric, and the winner's gates."""

    dataset: str
    metric: ScoreMetric
    seed: int
    rows: SplitRows
    rule: str
    best: Family
    winner: Family
    gates: tuple[GateResult, ...]
    models: dict[Family, ModelFigures]
    override: Override | None = None

    @property
    def passed(self) -> bool:
        """True if no gate failed; one that is inconclusive did not."""
        return all(gate.verdict is not Verdict.FAILED for gate in self.gates)

    @property
    def may_register(self) -> bool:
        """True if no gate failed, or those that did are overridden."""
        return self.passed or self.override is not None

    @property
    def winning(self) -> ModelFigures:
        """The winner's figures."""
        return self.models[self.winner]
