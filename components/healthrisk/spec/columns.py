"""A table's features: numbers within ranges, and codes out of closed lists."""

import math
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from healthrisk.documents import Document
from healthrisk.spec.column_names import Header, Name

Scalar = int | float | str


class Missing(Document):
    """Whether a column may lack a value, and which values mean that it does."""

    allowed: bool = False
    values: tuple[Scalar, ...] = ()


class Between(Document):
    """How a table without the column gives it: the time from one of its dates to another.

    Years are completed ones, as an age is stated; dates are written as `format` says, in the words of strftime.
    """

    first: Header
    last: Header
    unit: Literal["years", "days"]
    format: str = "%Y-%m-%d"


class Column(Document):
    """One feature: a number within a range, or a code out of a closed list.

    `name` is what requests call it, `header` what tables do, where that is something else. The kind `boolean` is short
    for the codes 0 and 1 of a column that tables may also spell true and false, or yes and no.
    """

    name: Name
    header: Header = ""
    label: str
    kind: Literal["number", "integer", "code"]
    unit: str = ""
    range: tuple[float, float] | None = None
    # Pairs of code and meaning; YAML writes them as a mapping, but JSON would turn number keys into strings.
    codes: tuple[tuple[int | str, str], ...] = ()
    missing: Missing = Missing()
    boolean: bool = False
    between: Between | None = None
    # Whether a higher value is known to go with more or with less risk; signals inverted labels.
    risk_direction: Literal["rises", "falls"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("kind") == "boolean":
            codes = fields.get("codes") or {0: "no", 1: "yes"}
            return fields | {"kind": "code", "codes": codes, "boolean": True}
        return fields

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
        if self.boolean and set(self.meanings) != {0, 1}:
            raise ValueError(f"column {self.name!r}: a boolean column has the codes 0 and 1")
        if self.between and self.kind == "code":
            raise ValueError(f"column {self.name!r}: the time between two dates is a number, not a code")
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

    @property
    def in_table(self) -> str:
        """What tables call it."""
        return self.header or self.name

    @cached_property
    def meanings(self) -> dict[int | str, str]:
        """The meaning of each code."""
        return dict(self.codes)

    @cached_property
    def is_text(self) -> bool:
        """True if the column's raw values are strings."""
        return any(isinstance(code, str) for code in self.meanings)

    @cached_property
    def code_values(self) -> dict[int | str, float]:
        """The number that stands for each code in an encoded matrix: the code itself, or a string's position."""
        if self.is_text:
            return {code: float(position) for position, code in enumerate(self.meanings)}
        return {code: float(code) for code in self.meanings}

    def format_value(self, encoded: float) -> str:
        """Return a value of the encoded matrix as people say it: a code's meaning, or a number with its unit."""
        if math.isnan(encoded):
            return "missing"
        if self.kind == "code":
            return next(self.meanings[code] for code, value in self.code_values.items() if value == encoded)
        return f"{encoded:.4g} {self.unit}".strip()

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
