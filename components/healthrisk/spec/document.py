"""The dataset spec: everything the platform knows about a table, its target and its rules.

A data set is a spec, never code. A spec is written as YAML, travels between pipeline steps as JSON,
and lies in every bundle, so that training and serving read the same one.
"""

import importlib.resources
import math
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from healthrisk.errors import SpecError
from healthrisk.spec import yaml_text

Scalar = int | float | str
Family = Literal["logistic_regression", "random_forest", "gradient_boosting"]
# From the simplest to the most flexible: the order in which ties between models are settled.
FAMILIES: tuple[Family, ...] = ("logistic_regression", "random_forest", "gradient_boosting")
Metric = Literal["accuracy", "f1_macro", "roc_auc", "log_loss", "brier"]
LOWER_IS_BETTER: frozenset[str] = frozenset({"log_loss", "brier"})
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=63)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Missing(_Strict):
    """Whether a column may lack a value, and which values mean that it does."""

    allowed: bool = False
    values: tuple[Scalar, ...] = ()


class Column(_Strict):
    """One feature: a number within a range, or a code out of a closed list."""

    name: Name
    label: str
    kind: Literal["number", "integer", "code"]
    unit: str = ""
    range: tuple[float, float] | None = None
    # Pairs of code and meaning; YAML writes them as a mapping, but JSON would turn number keys into strings.
    codes: tuple[tuple[int | str, str], ...] = ()
    missing: Missing = Missing()
    # Whether a higher value is known to go with more or with less risk; tells inverted labels.
    risk: Literal["rises", "falls"] | None = None

    @field_validator("codes", mode="before")
    @classmethod
    def _pairs(cls, codes: Any) -> Any:
        return tuple(codes.items()) if isinstance(codes, dict) else codes

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "code":
            if len(self.meanings) < 2 or len(self.meanings) < len(self.codes) or self.range is not None:
                raise ValueError(
                    f"column {self.name!r}: a code column needs at least two codes, each once, and no range"
                )
            if len({isinstance(code, str) for code in self.meanings}) > 1:
                raise ValueError(f"column {self.name!r}: codes must be all whole numbers or all strings (quote yes/no)")
        elif self.range is None or self.codes or self.range[0] >= self.range[1]:
            raise ValueError(f"column {self.name!r}: {self.kind} columns need a range [low, high] and no codes")
        self._check_missing()
        return self

    def _check_missing(self) -> None:
        for value in self.missing.values:
            if isinstance(value, str) != self.is_text:
                expected = "a string" if self.is_text else "a number"
                raise ValueError(f"column {self.name!r}: {value!r} as a missing value must be {expected}")
            if value in self.meanings or (
                not isinstance(value, str) and self.range and self.range[0] <= value <= self.range[1]
            ):
                raise ValueError(f"column {self.name!r}: {value!r} cannot mean a value and mean that it is missing")

    @cached_property
    def meanings(self) -> dict[int | str, str]:
        """The meaning of each code."""
        return dict(self.codes)

    @property
    def is_text(self) -> bool:
        """True if the column's raw values are strings."""
        return any(isinstance(code, str) for code in self.meanings)

    @cached_property
    def values(self) -> dict[int | str, float]:
        """The number that stands for each code in a coded matrix: the code itself, or a string's position."""
        if self.is_text:
            return {code: float(position) for position, code in enumerate(self.meanings)}
        return {code: float(code) for code in self.meanings}

    def in_words(self, coded: float) -> str:
        """Say a value of the coded matrix as people do: a code's meaning, or a number with its unit."""
        if math.isnan(coded):
            return "missing"
        if self.kind == "code":
            return next(self.meanings[code] for code, value in self.values.items() if value == coded)
        return f"{coded:.4g} {self.unit}".strip()

    @property
    def allowed(self) -> str:
        """What the column accepts, in words fit for an error message."""
        if self.kind == "code":
            what = "one of " + ", ".join(f"{code} ({meaning})" for code, meaning in self.codes)
        else:
            low, high = self.range or (0.0, 0.0)
            what = f"{'a whole number' if self.kind == 'integer' else 'a number'} from {low:g} to {high:g}"
            what += f" {self.unit}" if self.unit else ""
        return what + (", or missing" if self.missing.allowed else "")


class OutcomeClass(_Strict):
    """One class of the target: the value served for it and the raw values that mean it."""

    name: str
    value: int | str
    raw: tuple[int | str, ...] = Field(min_length=1)


class Target(_Strict):
    """The outcome, and how raw values become classes. With two classes the second is the event."""

    name: Name
    label: str
    # Names by which other files of the same schema call the outcome.
    aliases: tuple[str, ...] = ()
    classes: tuple[OutcomeClass, ...] = Field(min_length=2)
    # True if the classes stand in order of severity.
    ordered: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        raw = [value for cls in self.classes for value in cls.raw]
        for what, values in (("raw value", raw), ("value", [cls.value for cls in self.classes])):
            if len(set(values)) < len(values):
                raise ValueError(f"target {self.name!r}: a {what} belongs to two classes")
            if len({isinstance(value, str) for value in values}) > 1:
                raise ValueError(f"target {self.name!r}: {what}s must be all whole numbers or all strings")
        return self

    @property
    def is_text(self) -> bool:
        """True if the raw outcome is a string."""
        return isinstance(self.classes[0].raw[0], str)

    @cached_property
    def index(self) -> dict[int | str, int]:
        """The class position of each raw value."""
        return {value: position for position, cls in enumerate(self.classes) for value in cls.raw}


class Source(_Strict):
    """Where a table can be had. `package:NAME` means a file shipped with healthrisk."""

    name: Name
    # How a report names the place.
    label: str = ""
    uri: str
    # The file within the archive, where the address is a .zip; the digest is then the member's.
    member: str = ""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    header: bool = True


class RiskLevel(_Strict):
    """A level by the event's probability (`below`) or by predicted classes (`classes`)."""

    name: str
    below: float | None = Field(default=None, gt=0, le=1)
    classes: tuple[int | str, ...] = ()


class Gate(_Strict):
    """A bound that a model's hold-out metric must keep before it may be registered."""

    metric: Metric
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bound, other = (self.max, self.min) if self.metric in LOWER_IS_BETTER else (self.min, self.max)
        if bound is None or other is not None:
            better, which = ("lower", "max") if self.metric in LOWER_IS_BETTER else ("higher", "min")
            raise ValueError(f"gate {self.metric!r}: {better} is better, so give {which} and nothing else")
        if bound < 0 or (self.metric not in {"log_loss", "brier"} and bound > 1):
            raise ValueError(f"gate {self.metric!r}: {bound:g} is out of the metric's range")
        return self


class Rule(_Strict):
    """What a check of the table does when it finds something: `fail`, `warn` or `ignore`."""

    action: Literal["fail", "warn", "ignore"]
    # The largest share of rows (or, for class balance, the smallest share of a class) that is still fine.
    limit: Share = 0.0


class Validation(_Strict):
    """The rules of a table. Types, ranges, codes and unlisted columns always fail."""

    min_rows: int = Field(default=50, ge=10)
    duplicates: Rule = Rule(action="warn")
    missing: Rule = Rule(action="fail", limit=0.3)
    class_balance: Rule = Rule(action="warn", limit=0.1)
    inverted_target: Rule = Rule(action="fail")


class Recoding(_Strict):
    """A known other coding of the same table, recognised by the codes it uses."""

    name: str
    message: str
    columns: dict[str, tuple[int | str, ...]] = Field(min_length=1)


class Selection(_Strict):
    """How models are compared: repeated stratified cross-validation on the training part."""

    metric: Metric
    folds: int = Field(default=5, ge=2, le=20)
    repeats: int = Field(default=5, ge=1, le=100)


class Baseline(_Strict):
    """A rule to hold models against: the product of columns raised to `powers`, cut into the classes in their order."""

    name: str
    powers: dict[str, float] = Field(min_length=1)
    cuts: tuple[float, ...] = Field(min_length=1)


class Reduced(_Strict):
    """A model that does without some columns, measured beside the full one, inside and at other sites."""

    name: str
    without: tuple[str, ...] = Field(min_length=1)


class Fairness(_Strict):
    """How far true positive rates of groups may lie apart, and how many cases a group needs to be judged.

    Without a bound, groups are shown and nothing is judged: where a sensitive column is itself a strong predictor, an
    honest model finds more of the cases that are more likely.
    """

    max_difference: Share | None = None
    min_cases: int = Field(default=20, ge=2)


class Evidence(_Strict):
    """What the report shows besides the models, and what it is judged by."""

    baselines: tuple[Baseline, ...] = ()
    reduced: tuple[Reduced, ...] = ()
    # Inner bounds of the bands into which a sensitive number is cut; its quartiles where there are none.
    bands: dict[str, tuple[float, ...]] = {}
    fairness: Fairness = Fairness()
    # The largest share of training labels that may look wrong. It has no default: where outcomes are hard to predict
    # many honest labels look wrong, so the bound is to be set from a table that is known to be clean.
    suspect_labels: Share | None = None


class DatasetSpec(_Strict):
    """A data set: columns, target, sources, rules, search spaces and gates."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=40)]
    title: str
    description: str
    citation: str = ""
    license: str = ""
    caveats: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    external: tuple[Source, ...] = ()
    missing_tokens: tuple[str, ...] = ("",)
    columns: tuple[Column, ...] = Field(min_length=1)
    target: Target
    sensitive: tuple[str, ...] = ()
    validation: Validation = Validation()
    recodings: tuple[Recoding, ...] = ()
    search: dict[Family, dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]] = {}
    selection: Selection
    gates: tuple[Gate, ...] = Field(min_length=1)
    risk_levels: tuple[RiskLevel, ...] = Field(min_length=1)
    evidence: Evidence = Evidence()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_unique()
        mentioned = [*self.sensitive, *(name for recoding in self.recodings for name in recoding.columns)]
        if unknown := sorted(set(mentioned) - set(self.features)):
            raise ValueError(f"{unknown[0]!r} is named as sensitive or recoded, but is not a column")
        if taken := sorted(set(self.missing_tokens) & ({*self.target.index} | {*self._texts()})):
            raise ValueError(f"missing_tokens: {taken[0]!r} is also a code or an outcome")
        self._check_risk_levels()
        self._check_evidence()
        return self

    def _texts(self) -> list[str]:
        return [code for column in self.columns for code in column.meanings if isinstance(code, str)]

    def _check_unique(self) -> None:
        listed: dict[str, list[str]] = {
            "column": [*self.features, self.target.name, *self.target.aliases],
            "source": [source.name for source in (*self.sources, *self.external)],
            "class": [cls.name for cls in self.target.classes],
            "gate": [gate.metric for gate in self.gates],
            "risk level": [level.name for level in self.risk_levels],
            "sensitive column": [*self.sensitive],
        }
        for what, names in listed.items():
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} {twice[0]!r} is listed twice")

    def _check_evidence(self) -> None:
        numbers = {column.name for column in self.columns if column.kind != "code"}
        for baseline in self.evidence.baselines:
            if unknown := sorted(set(baseline.powers) - numbers):
                raise ValueError(f"baseline {baseline.name!r}: {unknown[0]!r} is not a number's column")
            if len(baseline.cuts) != len(self.target.classes) - 1 or list(baseline.cuts) != sorted(set(baseline.cuts)):
                raise ValueError(f"baseline {baseline.name!r}: give rising cuts, one fewer than there are classes")
        for reduced in self.evidence.reduced:
            if unknown := sorted(set(reduced.without) - set(self.features)):
                raise ValueError(f"reduced model {reduced.name!r}: {unknown[0]!r} is not a column")
            if set(reduced.without) == set(self.features):
                raise ValueError(f"reduced model {reduced.name!r}: no column is left")
        if unknown := sorted(set(self.evidence.bands) - (set(self.sensitive) & numbers)):
            raise ValueError(f"bands: {unknown[0]!r} is not a sensitive number")
        for name, cuts in self.evidence.bands.items():
            if list(cuts) != sorted(set(cuts)):
                raise ValueError(f"bands: the bounds of {name!r} must rise")

    def _check_risk_levels(self) -> None:
        if self.is_binary:
            bounds = [level.below for level in self.risk_levels]
            rising = [bound for bound in bounds[:-1] if bound is not None]
            if bounds[-1] is not None or len(rising) < len(bounds) - 1 or rising != sorted(set(rising)):
                raise ValueError("risk_levels: give rising `below` bounds, and none on the last level")
        else:
            listed = sorted(str(value) for level in self.risk_levels for value in level.classes)
            if listed != sorted(str(cls.value) for cls in self.target.classes):
                raise ValueError("risk_levels: with more than two classes, list every class value under one level")

    @property
    def is_binary(self) -> bool:
        """True if the target has two classes, the second being the event."""
        return len(self.target.classes) == 2

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The feature names, in the order of every matrix."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    def reduce(self, without: Collection[str]) -> Self:
        """Return this spec without some columns, and without what names them."""
        kept = [column for column in self.columns if column.name not in without]
        evidence = {"bands": {name: cuts for name, cuts in self.evidence.bands.items() if name not in without}}
        changes = {
            "columns": kept,
            "sensitive": [name for name in self.sensitive if name not in without],
            "recodings": (),
            "evidence": evidence,
        }
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)

    def to_json(self) -> str:
        """The spec as canonical JSON: the same spec gives the same bytes."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def parse(cls, document: str) -> Self:
        """Read a spec from YAML or JSON text.

        Raises:
            SpecError: the text is no YAML mapping, or breaks a rule; the message names each field.
        """
        data = yaml_text.mapping(document)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(f"the spec {data.get('name')!r} is not valid: {yaml_text.explain(error)}") from error


def builtin_names() -> tuple[str, ...]:
    """The names of the specs that ship with the package."""
    folder = importlib.resources.files("healthrisk") / "datasets"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load(dataset: str) -> DatasetSpec:
    """Load a shipped spec by name, or a user's own by the path of its YAML file.

    Raises:
        SpecError: there is no such spec, or it is not valid.
    """
    if dataset in builtin_names():
        return DatasetSpec.parse(
            (importlib.resources.files("healthrisk") / "datasets" / f"{dataset}.yaml").read_text("utf-8")
        )
    path = Path(dataset)
    if path.suffix not in {".yaml", ".yml", ".json"}:
        raise SpecError(f"unknown data set {dataset!r}: expected one of {', '.join(builtin_names())}, or a .yaml file")
    try:
        return DatasetSpec.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the spec {dataset!r} cannot be read: {error}") from error


def is_better(metric: Metric, candidate: float, other: float) -> bool:
    """True if `candidate` is a strictly better value of the metric than `other`."""
    return candidate < other if metric in LOWER_IS_BETTER else candidate > other
