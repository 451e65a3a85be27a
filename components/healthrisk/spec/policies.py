"""What a data set demands of its table and its models: where it comes from, what fails, what is searched and judged."""

from typing import Annotated, Literal

from pydantic import Field

from healthrisk.documents import Document
from healthrisk.spec.column_names import Name
from healthrisk.spec.metric import LOG_LOSS, ScoreMetric

Family = Literal["logistic_regression", "random_forest", "gradient_boosting"]
# From the simplest to the most flexible: the order in which ties between models are settled.
FAMILIES: tuple[Family, ...] = ("logistic_regression", "random_forest", "gradient_boosting")
Share = Annotated[float, Field(ge=0, le=1)]


def family_name(family: str) -> str:
    """Return a family's name as people write it."""
    return family.replace("_", " ")


class Source(Document):
    """Where a table can be had. `package:NAME` means a file shipped with healthrisk."""

    name: Name
    # How a report names the place.
    label: str = ""
    uri: str
    # The file within the archive, where the address is a .zip; the digest is then the member's.
    member: str = ""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    header: bool = True


class CsvFormat(Document):
    """How a data set's CSV files are written."""

    delimiter: Literal[",", ";", "\t", "|"] = ","
    encoding: Literal["utf-8", "latin-1"] = "utf-8"


class Rule(Document):
    """What a check of the table does when it finds something: `fail`, `warn` or `ignore`."""

    action: Literal["fail", "warn", "ignore"]
    # The largest share of rows (or, for class balance, the smallest share of a class) that is still fine.
    limit: Share = 0.0


class Validation(Document):
    """The rules of a table. Types, ranges, codes and unlisted columns always fail."""

    min_rows: int = Field(default=50, ge=10)
    # Equal rows are taken for one patient's, and stay together, unless they are ignored.
    duplicates: Rule = Rule(action="warn")
    missing: Rule = Rule(action="fail", limit=0.3)
    class_balance: Rule = Rule(action="warn", limit=0.1)
    inverted_target: Rule = Rule(action="fail")


class ForeignEncoding(Document):
    """A known other encoding of the same table, recognised by the codes it uses."""

    name: str
    message: str
    columns: dict[str, tuple[int | str, ...]] = Field(min_length=1)


class Selection(Document):
    """How models are compared: repeated stratified cross-validation on the training part."""

    # A proper score: it is best for probabilities that mean what they say. Ranks alone, as in an area under a curve,
    # say nothing of them, and make a search take the strongest penalty.
    metric: ScoreMetric = LOG_LOSS
    # What is fitted on the probabilities of rows that a model has not seen, within every fold: Platt's slope and
    # intercepts. Worth its five-fold time where a family's probabilities lie too close to the middle, or too far out.
    recalibration: Literal["none", "platt"] = "none"
    folds: int = Field(default=5, ge=2, le=20)
    repeats: int = Field(default=5, ge=1, le=100)


class Scale(Document):
    """From where on less than everything is computed, and how exact the rest has to be.

    What was left out of a table, and what that cost, stands in its report.
    """

    # Up to so many training rows every candidate of a search is judged on every row, every repeat is made, and no row
    # is left out.
    whole_rows: int = Field(default=5_000, ge=100)
    # A search of more rows halves: all candidates are judged on a stratified sample, the best third on three times as
    # many rows, and so on, the last of them on so many.
    search_rows: int = Field(default=10_000, ge=100)
    # Its folds, or those of the selection where these are fewer: every row of a sample is judged once by either, and
    # where there are more rows to be had they say more than folds do.
    search_folds: int = Field(default=3, ge=2, le=20)
    # A tree of a forest draws so many rows at most, and so a forest's search ends with no more than these.
    tree_rows: int = Field(default=5_000, ge=100)
    # Repeats of cross-validation end when the interval of the metric that models are chosen by is no wider than this
    # share of what lies between knowing the classes' frequencies alone and knowing all.
    score_width: float = Field(default=0.1, gt=0, lt=1)
    # Of each part at least so many rows are judged, and so many more that a share of the scarcest class's has an
    # interval no wider than this.
    judged_rows: int = Field(default=20_000, ge=100)
    share_width: float = Field(default=0.04, gt=0, lt=1)


class Baseline(Document):
    """A rule to hold models against: the product of columns raised to `powers`, cut into the classes in their order."""

    name: str
    powers: dict[str, float] = Field(min_length=1)
    cuts: tuple[float, ...] = Field(min_length=1)


class Ablation(Document):
    """A model that does without some columns, measured beside the full one, inside and at other sites."""

    name: str
    without: tuple[str, ...] = Field(min_length=1)


class Evidence(Document):
    """What the report shows besides the models, and what it is judged by."""

    baselines: tuple[Baseline, ...] = ()
    ablations: tuple[Ablation, ...] = ()
    # Inner bounds of the bands into which a sensitive number is cut; its quartiles where there are none.
    bands: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    # A figure from fewer events is inconclusive, of everybody as of a group.
    min_cases: int = Field(default=20, ge=2)
    # The lowest and the highest risk from which people act, where net benefit counts; by default the risk levels'.
    acting_from: tuple[Share, Share] | None = None
