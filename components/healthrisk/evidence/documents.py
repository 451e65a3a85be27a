"""Documents of what is measured of a winner, one for each question.

Shares lie between 0 and 1. A figure that does not exist, such as a rate of no case, is None.
"""

from healthrisk.documents import Document
from healthrisk.spec import GateResult
from healthrisk.training.intervals import CrossValidated, Estimate


class Quartiles(Document):
    """Median and quartiles of a number's known values."""

    median: float
    low: float
    high: float


class CodeCount(Document):
    """How often a code occurs, and its share of the known values."""

    count: int
    share: float


class CohortLine(Document):
    """One line of the first table: a number's, without a name, or a code's meaning, without and with the event."""

    name: str
    sides: tuple[Quartiles | CodeCount | None, Quartiles | CodeCount | None]


class Predictor(Document):
    """A predictor's lines, and its missing values without and with the event."""

    label: str
    unit: str
    missing: tuple[int, int]
    lines: tuple[CohortLine, ...]


class Cohort(Document):
    """Who the patients are: the rows without and with the event, and every predictor."""

    rows: tuple[int, int]
    predictors: tuple[Predictor, ...]


class Calibration(Document):
    """Whether `rows` probabilities mean what they say: shares observed and expected, and what recalibrates them."""

    rows: int
    observed: float
    expected: float
    calibration_slope: Estimate | None = None
    calibration_intercept: Estimate | None = None
    in_the_large: Estimate | None = None


class ClassCalibration(Document):
    """The calibration of one class against the rest."""

    name: str
    calibration: Calibration


class NetBenefit(Document):
    """Net benefit per patient [thresholds] of acting by the model, on everybody and on nobody."""

    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    everybody: tuple[float, ...]
    nobody: tuple[float, ...]


class GroupFigures(Document):
    """How one group is treated: its rows, those with the event (`cases`) and without (`others`), and its rates."""

    group: str
    rows: int
    cases: int
    others: int
    rates: dict[str, Estimate | None]
    roc_auc: Estimate | None
    in_the_large: Estimate | None


class GroupComparison(Document):
    """A sensitive column's groups: each rate's largest difference and smallest ratio between them.

    `widest` is the difference of sensitivity between groups with enough cases, and `reason` says what it shows. `gate`
    judges that difference, `calibration_gate` how far the risks of any group lie from what happened to it.
    """

    column: str
    label: str
    unit: str
    groups: tuple[GroupFigures, ...]
    difference: dict[str, Estimate | None]
    ratio: dict[str, float | None]
    widest: Estimate | None
    reason: str
    gate: GateResult | None
    calibration_gate: GateResult | None = None

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """The results of the gates that the spec sets."""
        return tuple(gate for gate in (self.gate, self.calibration_gate) if gate)


class BaselineFigures(Document):
    """What a rule of thumb scores on the hold-out, and its accuracy on every row."""

    name: str
    accuracy: float
    f1_macro: float
    everywhere: Estimate


class SuspectLabels(Document):
    """How many of `rows` training labels look wrong, and the share from which nothing is registered."""

    rows: int
    suspects: Estimate
    limit: float | None


class MeanEffect(Document):
    """The mean absolute Shapley value of a variable."""

    label: str
    mean: float


class Contribution(Document):
    """What a variable, whose value is `shown`, adds to a patient's probability, with the sampling error."""

    label: str
    shown: str
    value: float
    error: float


class ExplainedPatient(Document):
    """How the base becomes an invented patient's probability of the outcome; the largest contributions come first."""

    outcome: str
    base: float
    probability: float
    values: tuple[Contribution, ...]


class Explanation(Document):
    """What the model uses: over `rows` patients of the hold-out, and in one example."""

    rows: int
    overall: tuple[MeanEffect, ...]
    example: ExplainedPatient


class AblationFigures(Document):
    """A model without some columns, named by their labels: its hold-out scores, and with full evidence more."""

    name: str
    without: tuple[str, ...]
    test: dict[str, float]
    cross_validation: dict[str, CrossValidated] | None = None


class Recalibrated(Document):
    """The figures after all log-odds were shifted."""

    shift: float
    accuracy: Estimate
    brier: float


class SiteFigures(Document):
    """How a model does at another site."""

    accuracy: Estimate
    roc_auc: Estimate | None
    brier: float
    calibration: Calibration
    recalibrated: Recalibrated | None


class Site(Document):
    """A site's rows, the columns it hardly ever recorded, and each model's figures, by the model's name.

    `uri` and `sha256` are empty where the site's rows are in the table itself.
    """

    name: str
    label: str
    uri: str = ""
    sha256: str = ""
    rows: int
    events: int
    unrecorded: tuple[str, ...]
    models: dict[str, SiteFigures]
    # What the site's patients are like: a figure for each line of the first table, in its order.
    participants: tuple[Quartiles | CodeCount | None, ...] = ()


class MissingSite(Document):
    """A site of which nothing is known, and why."""

    name: str
    label: str
    uri: str
    missing: str


class Effect(CrossValidated):
    """A score under a condition, and its paired change from the untouched table."""

    change: CrossValidated


class ConditionFigures(Document):
    """What one way to perturb data does; sensitivity is by the groups whose labels are flipped."""

    what: str
    strength: float
    target: str
    effects: dict[str, Effect]
    calibration: Calibration
    sensitivity: dict[str, Estimate | None]


class ImputationFigures(Document):
    """What another way with missing values does to each score, beside the served one."""

    how: str
    effects: dict[str, Effect]


class Detection(Document):
    """Of labels flipped in a share of a target: how many are flagged, found, and rightly flagged."""

    strength: float
    target: str
    flagged: Estimate
    recall: Estimate | None
    precision: Estimate | None
