"""Hold an ingested table against its spec: what breaks a rule fails or warns, as the spec says.

Each part of a table is gone through by itself, and what was found merges: the report is the same whatever the parts.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import pandas as pd
import pandera.errors
from pandera.pandas import DataFrameSchema

from healthrisk import engine
from healthrisk.data import tables
from healthrisk.data.association import Associations
from healthrisk.data.profile import ColumnSummary, Profile
from healthrisk.data.schema import schema
from healthrisk.documents import Document
from healthrisk.errors import ValidationError
from healthrisk.spec import DatasetSpec, Rule

# Profile.association is below it in at most 2.3 % of tables without any association, in fewer with the right one.
INVERTED_BELOW = -2.0


class Check(Document):
    """What one rule found."""

    name: str
    status: Literal["pass", "warn", "fail"]
    message: str


class ClassRows(Document):
    """How many rows have a class as their outcome."""

    name: str
    rows: int


class ValidationReport(Document):
    """A table's size, the rows of each class, a summary of each column by its name, associations, and every check."""

    rows: int
    classes: tuple[ClassRows, ...]
    columns: dict[str, ColumnSummary]
    associations: Associations
    checks: tuple[Check, ...]

    def raise_if_failed(self) -> None:
        """Raise if a check failed.

        Raises:
            ValidationError: its message holds every failed check's.
        """
        failed = [check.message for check in self.checks if check.status == "fail"]
        if failed:
            raise ValidationError("; ".join(failed))


def validate(spec: DatasetSpec, table: Path) -> ValidationReport:
    """Hold a table against its spec; it is read in batches."""
    with engine.connect(table) as tasks:
        found = tasks.merge(_inspect, ((spec, part) for part in tables.parts(table)), _Findings.merge)
    profile = found.profile
    rows_by_class = zip(spec.target.classes, profile.classes.tolist(), strict=True)
    return ValidationReport(
        rows=profile.rows,
        classes=tuple(ClassRows(name=cls.name, rows=count) for cls, count in rows_by_class),
        columns={name: profile.column(name) for name in spec.features},
        associations=profile.associations,
        checks=(
            *_foreign_encodings(spec, profile),
            *found.faults.checks(),
            *_counts(spec, profile),
            *_associations(spec, profile),
        ),
    )


def _inspect(job: tuple[DatasetSpec, Path]) -> "_Findings":
    """Return what is found in one part of a table, its rows numbered from 1."""
    spec, part = job
    found = _Findings(spec)
    judge = schema(spec)
    for batch in tables.read_parts(part, [*spec.features, spec.target.name]):
        frame = batch.to_pandas()
        frame.index += found.profile.rows + 1
        found.faults.inspect(judge, frame)
        found.profile.add(batch, frame)
    return found


class _Findings:
    """The profile of some rows, and the values in them that break the schema."""

    def __init__(self, spec: DatasetSpec) -> None:
        self.profile, self.faults = Profile(spec), _Faults(spec)

    def merge(self, other: Self) -> Self:
        """Take what was found in the rows that follow."""
        self.faults.merge(other.faults, self.profile.rows)
        self.profile.merge(other.profile)
        return self


class _Faults:
    """The values that break the schema, counted by column, with the first of each: its row and the value."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._counts: Counter[str] = Counter()
        self._first: dict[str, tuple[int, str]] = {}

    def inspect(self, judge: DataFrameSchema, frame: pd.DataFrame) -> None:
        """Hold a batch against the schema; its index numbers the rows from 1."""
        try:
            judge.validate(frame, lazy=True, inplace=True)
        except pandera.errors.SchemaErrors as error:
            for name, faulty in error.failure_cases.groupby("column", sort=False):
                rows = faulty.drop_duplicates("index").sort_values("index")
                self._counts[name] += len(rows)
                value, row = rows[["failure_case", "index"]].to_numpy(object).tolist()[0]
                self._first.setdefault(name, (int(row), "missing" if pd.isna(value) else repr(value)))

    def merge(self, other: Self, rows: int) -> None:
        """Take the faults of the rows that follow so many rows."""
        self._counts += other._counts
        for name, (row, shown) in other._first.items():
            self._first.setdefault(name, (rows + row, shown))

    def checks(self) -> Iterator[Check]:
        """Yield a check for the features and one for the outcome."""
        target = self._spec.target
        allowed = {column.name: column.allowed for column in self._spec.columns}
        allowed[target.name] = target.allowed
        for name in filter(self._counts.get, allowed):
            row, shown = self._first[name]
            more = f", and {self._counts[name] - 1} rows more," if self._counts[name] > 1 else ","
            yield _check("values", "fail", f"{name} is {shown} in row {row}{more} expected {allowed[name]}")
        if not self._counts:
            yield _check("values", "pass", "every value has the type, range or code of its column")


def _foreign_encodings(spec: DatasetSpec, profile: Profile) -> Iterator[Check]:
    """Recognise a known other encoding: all its columns keep to its codes, and one uses a code that the spec lacks."""
    for foreign in spec.foreign_encodings:
        seen = {name: profile.codes(name) for name in foreign.columns}
        fits = all(seen[name] and seen[name] <= set(map(float, codes)) for name, codes in foreign.columns.items())
        unknown = any(seen[name] - set(spec.by_name[name].code_values.values()) for name in seen)
        if fits and unknown:
            yield _check("encoding", "fail", f"{foreign.name}: {foreign.message}")
        else:
            yield _check("encoding", "pass", f"the table is not in the encoding of {foreign.name}")


def _counts(spec: DatasetSpec, profile: Profile) -> Iterator[Check]:
    rules, rows = spec.validation, profile.rows
    enough = rows >= rules.min_rows
    yield _check("rows", "pass" if enough else "fail", f"{rows} rows; at least {rules.min_rows} are expected")
    repeated = profile.repeated.count()
    about = "about " if profile.repeated.halvings else ""
    words = f"{about}{repeated} of {rows} rows repeat another one"
    yield _judge("duplicates", rules.duplicates, repeated / rows, words)
    for name in spec.features:
        missing = rows - profile.present[name]
        if missing == rows:
            yield _check("missing", "fail", f"{name} is missing in every row")
            continue
        if missing:
            yield _judge("missing", rules.missing, missing / rows, f"{name} is missing in {missing} of {rows} rows")
        if profile.is_constant(name):
            yield _check("constant", "warn", f"{name} has the same value in every row")
    absent = [cls.name for cls, count in zip(spec.target.classes, profile.classes, strict=True) if not count]
    if absent:
        yield _check("classes", "fail", f"no row has the outcome {', '.join(map(repr, absent))}: every class is needed")
        return
    rarest = int(profile.classes.argmin())
    share = profile.classes[rarest] / rows
    words = f"{spec.target.classes[rarest].name!r}, the rarest class, has {profile.classes[rarest]} of {rows} rows"
    yield _judge("class balance", rules.class_balance, share, words, at_least=True)


def _associations(spec: DatasetSpec, profile: Profile) -> Iterator[Check]:
    rule, score = spec.validation.inverted_target, profile.association()
    if score is None or rule.action == "ignore":
        return
    directed = [f"{column.name} {column.risk_direction}" for column in spec.columns if column.risk_direction]
    if score < INVERTED_BELOW:
        words = (
            f"the outcome {spec.target.name!r} looks inverted: risk runs against what is known ({', '.join(directed)})"
        )
        yield _check("inverted outcome", rule.action, f"{words}; mean z {score:.1f}")
    else:
        yield _check("inverted outcome", "pass", f"risk runs as is known ({', '.join(directed)}); mean z {score:.1f}")


def _judge(name: str, rule: Rule, share: float, words: str, at_least: bool = False) -> Check:
    """Return the verdict on a share by a rule; a rule that is ignored always passes."""
    fine = share >= rule.limit if at_least else share <= rule.limit
    bound = f"{'at least' if at_least else 'at most'} {rule.limit:.1%}"
    status = "pass" if fine or rule.action == "ignore" else rule.action
    return _check(name, status, f"{words} ({share:.1%}; {bound} is expected)")


def _check(name: str, status: Literal["pass", "warn", "fail"], message: str) -> Check:
    return Check(name=name, status=status, message=message)
