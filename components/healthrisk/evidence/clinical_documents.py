"""Documents of what clinical guidelines ask of a model beside its figures: size, thresholds, certainty."""

from healthrisk.documents import Document
from healthrisk.training.intervals import Estimate


class SizeCriterion(Document):
    """How many patients one of Riley's criteria asks for, under an assumption on the model's R squared."""

    asks: str
    assumed: str
    patients: int


class SampleSize(Document):
    """The patients and events that were fitted on, the parameters that could be, and what criteria ask for."""

    patients: int
    events: int
    parameters: int
    criteria: tuple[SizeCriterion, ...]

    @property
    def fewest(self) -> int:
        """The patients that the least demanding criterion asks for."""
        return min(criterion.patients for criterion in self.criteria)

    @property
    def most(self) -> int:
        """The patients that the most demanding criterion asks for."""
        return max(criterion.patients for criterion in self.criteria)

    @property
    def events_per_parameter(self) -> float:
        """The events for each parameter."""
        return self.events / self.parameters


class OperatingPoint(Document):
    """What it is worth to act from the risk at which a level begins: figures with intervals, None without a case.

    `gain` is the net benefit above the better of acting on everybody and on nobody, which `beside` names.
    """

    level: str
    event: str
    threshold: float
    rows: int
    acted: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    ppv: Estimate | None
    npv: Estimate | None
    net_benefit: Estimate
    gain: Estimate
    beside: str


class SmoothCalibration(Document):
    """The observed share as a smooth function of the prediction, with its 95 % band, on a grid of predictions.

    `mean_error` and `error_90` are the mean and the 90th percentile, over the rows, of the distance between the two.
    """

    name: str
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean_error: float
    error_90: float


class Coverage(Document):
    """How often the sets of a group's rows hold the true class, and how many classes they hold in the mean."""

    group: str
    rows: int
    covered: Estimate
    size: float


class PredictionSets(Document):
    """Conformal sets of classes: the share promised, what came of it over all and by group, and how large they are.

    `single` is the share of rows whose set holds one class, `empty` of those whose set holds none.
    """

    promised: float
    overall: Coverage
    single: float
    empty: float
    groups: tuple[Coverage, ...]


class Term(Document):
    """A term of a linear model: what it multiplies, and its coefficient on the log-odds of each class.

    `classes` is empty of two classes, where there is one coefficient: the event's.
    """

    label: str
    per: str
    coefficients: tuple[float, ...]


class LinearModel(Document):
    """A linear winner as it can be written down: intercepts and terms, in the units of the spec."""

    classes: tuple[str, ...]
    intercepts: tuple[float, ...]
    terms: tuple[Term, ...]
