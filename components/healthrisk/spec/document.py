"""The dataset spec: everything the platform knows about a table, its target and its rules.

A data set is a spec, never code. A spec is written as YAML, travels between pipeline steps as JSON,
and lies in every bundle, so that training and serving read the same one.
"""

from collections.abc import Collection
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from healthrisk.documents import Document
from healthrisk.errors import SpecError
from healthrisk.spec import hyperparameters, yaml_text
from healthrisk.spec.column_names import Header, with_safe_names
from healthrisk.spec.columns import Column
from healthrisk.spec.gate import DEFAULT_GATES, EVERY_CLASS, Gate
from healthrisk.spec.metric import BASELINE_GAIN, LEAST_RECALL, SITE_ROC_AUC, Metric
from healthrisk.spec.outcome import RiskLevel, Target
from healthrisk.spec.policies import (
    CsvFormat,
    Evidence,
    Family,
    ForeignEncoding,
    Scale,
    Selection,
    Source,
    Validation,
)
from healthrisk.spec.study import Study


class DatasetSpec(Document):
    """A data set: columns, target, sources, rules, search spaces and gates."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=40)]
    title: str
    description: str
    citation: str = ""
    license: str = ""
    caveats: tuple[str, ...] = ()
    study: Study = Study()
    sources: tuple[Source, ...] = ()
    external: tuple[Source, ...] = ()
    csv: CsvFormat = CsvFormat()
    missing_tokens: tuple[str, ...] = ("",)
    columns: tuple[Column, ...] = Field(min_length=1)
    # Columns that a table may have and that nothing reads, such as identifiers.
    ignore: tuple[Header, ...] = ()
    # Columns that say what rows have in common and that no model sees: whose rows they are (a patient's, never in both
    # training and hold-out), when they were (train before, test after), and where (each site is left out once).
    group: Header = ""
    time: Header = ""
    site: Header = ""
    target: Target
    sensitive: tuple[str, ...] = ()
    validation: Validation = Validation()
    foreign_encodings: tuple[ForeignEncoding, ...] = ()
    search: dict[Family, dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]] = Field(default_factory=dict)
    selection: Selection = Selection()
    scale: Scale = Scale()
    gates: tuple[Gate, ...] = ()
    risk_levels: tuple[RiskLevel, ...] = Field(min_length=1)
    evidence: Evidence = Evidence()

    @model_validator(mode="before")
    @classmethod
    def _safely_named(cls, fields: Any) -> Any:
        return with_safe_names(fields) if isinstance(fields, dict) else fields

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_unique()
        hyperparameters.check(self.search)
        mentioned = [*self.sensitive, *(name for foreign in self.foreign_encodings for name in foreign.columns)]
        if unknown := sorted(set(mentioned) - set(self.features)):
            raise ValueError(f"{unknown[0]!r} is named as sensitive or in a foreign encoding, but is not a column")
        if taken := sorted(set(self.missing_tokens) & ({*self.target.index} | {*self._texts()})):
            raise ValueError(f"missing_tokens: {taken[0]!r} is also a code or an outcome")
        self._check_risk_levels()
        self._check_evidence()
        return self

    def _texts(self) -> list[str]:
        return [code for column in self.columns for code in column.meanings if isinstance(code, str)]

    def _check_unique(self) -> None:
        listed: dict[str, list[str]] = {
            "column": [*self.features, self.target.name, *self.target.aliases, *self.ignore, *self.structure],
            "header": [*(column.in_table for column in self.columns), self.target.in_table],
            "source": [source.name for source in (*self.sources, *self.external)],
            "class": [cls.name for cls in self.target.classes],
            "gate": [
                gate.metric.name + f" at {gate.at}" * (gate.at is not None) + f" by {gate.column}" * bool(gate.column)
                for gate in self.gates
            ],
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
        for ablation in self.evidence.ablations:
            if unknown := sorted(set(ablation.without) - set(self.features)):
                raise ValueError(f"ablation {ablation.name!r}: {unknown[0]!r} is not a column")
            if set(ablation.without) == set(self.features):
                raise ValueError(f"ablation {ablation.name!r}: no column is left")
        self._check_bands(numbers)

    def _check_bands(self, numbers: set[str]) -> None:
        if (limits := self.evidence.acting_from) and not 0 < limits[0] <= limits[1] < 1:
            raise ValueError(f"acting_from: expected two rising risks between 0 and 1, got {list(limits)}")
        if SITE_ROC_AUC in {gate.metric for gate in self.gates} and not self.site:
            raise ValueError("gate 'site_roc_auc': the spec names no column `site`")
        if BASELINE_GAIN in {gate.metric for gate in self.gates} and not self.evidence.baselines:
            raise ValueError("gate 'baseline_gain': the evidence names no baseline")
        if unknown := sorted({gate.column for gate in self.gates if gate.column} - set(self.sensitive)):
            raise ValueError(f"gates: {unknown[0]!r} is not a sensitive column")
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
            if any(level.any_of or level.at_least for level in self.risk_levels):
                raise ValueError("risk_levels: with two classes a level has a bound `below` alone")
            return
        first, *higher = self.risk_levels
        known = {cls.value for cls in self.target.classes}
        if not higher or first.any_of or first.at_least or any(level.below for level in self.risk_levels):
            raise ValueError("risk_levels: with more than two classes, give at least two, the first without a rule")
        for level in higher:
            if not level.any_of or level.at_least is None:
                raise ValueError(
                    f"risk level {level.name!r}: say of which classes, `any_of`, and from which probability"
                )
            if unknown := [value for value in level.any_of if value not in known]:
                raise ValueError(f"risk level {level.name!r}: {unknown[0]!r} is no class")

    @property
    def is_binary(self) -> bool:
        """True if the target has two classes, the second being the event."""
        return len(self.target.classes) == 2

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The feature names, in the order of every matrix."""
        return tuple(column.name for column in self.columns)

    @property
    def structure(self) -> tuple[str, ...]:
        """The columns that say what rows have in common: group, time and site, those that there are."""
        return tuple(filter(None, dict.fromkeys((self.group, self.time, self.site))))

    @cached_property
    def dates(self) -> frozenset[str]:
        """The columns with dates out of which features follow."""
        spans = [column.between for column in self.columns if column.between]
        return frozenset(name for span in spans for name in (span.first, span.last))

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def all_gates(self) -> tuple[Gate, ...]:
        """The spec's gates, or sensible ones where it names none, and always one on classes that are never found."""
        gates = self.gates or DEFAULT_GATES
        if self.evidence.baselines and not self.gates:
            gates = (*gates, Gate(metric=BASELINE_GAIN, min=0))
        return gates if any(gate.metric == LEAST_RECALL for gate in gates) else (*gates, EVERY_CLASS)

    @property
    def acting_from(self) -> tuple[float, float]:
        """The lowest and the highest risk of the event from which people act."""
        if self.evidence.acting_from:
            return self.evidence.acting_from
        if not self.is_binary:
            return self.event_from, self.event_from
        bounds = [level.below for level in self.risk_levels if level.below is not None] or [0.5]
        return bounds[0], bounds[-1]

    @property
    def event_from(self) -> float:
        """The probability from which the event is called: of more than two classes, where the highest level begins."""
        return self.risk_levels[-1].at_least or 0.5

    @cached_property
    def event_positions(self) -> tuple[int, ...]:
        """The classes that make the event: the second of two; of more those that the highest risk level names."""
        if self.is_binary:
            return (1,)
        values = self.risk_levels[-1].any_of
        return tuple(place for place, cls in enumerate(self.target.classes) if cls.value in values)

    def gate(self, metric: Metric) -> Gate | None:
        """Return the gate on a metric, if there is one."""
        return next((gate for gate in self.all_gates if gate.metric == metric), None)

    def group_gate(self, metric: Metric, column: str) -> Gate | None:
        """Return the gate on a sensitive column's groups: its own, or the one for every column."""
        gates = {gate.column: gate for gate in self.all_gates if gate.metric == metric}
        return gates.get(column, gates.get(""))

    def reduce(self, without: Collection[str]) -> Self:
        """Return this spec without some columns, and without what names them."""
        remaining = [column for column in self.columns if column.name not in without]
        evidence = {"bands": {name: cuts for name, cuts in self.evidence.bands.items() if name not in without}}
        changes = {
            "columns": remaining,
            "sensitive": [name for name in self.sensitive if name not in without],
            "foreign_encodings": (),
            "evidence": evidence,
            # A baseline may need what is left out.
            "gates": [g for g in self.gates if g.metric != BASELINE_GAIN and g.column not in without],
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
