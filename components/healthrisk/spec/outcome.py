"""What is predicted: the target, its classes, and the levels of risk."""

from functools import cached_property
from typing import Any, Self

from pydantic import Field, model_validator

from healthrisk.documents import Document
from healthrisk.spec.column_names import Header, Name


class OutcomeClass(Document):
    """One class of the target: the value served for it and the raw values that mean it."""

    name: str
    value: int | str
    raw: tuple[int | str, ...] = Field(min_length=1)


class Target(Document):
    """The outcome, and how raw values become classes. With two classes the second is the event."""

    name: Name
    header: Header = ""
    label: str
    # Names by which other files of the same schema call the outcome.
    aliases: tuple[Header, ...] = ()
    classes: tuple[OutcomeClass, ...] = Field(min_length=2)
    # True if the classes stand in order of severity.
    ordered: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_classes(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "classes" not in fields:
            name = fields.get("name")
            raise ValueError(
                f"target {name!r} has no classes: healthrisk does classification only, neither regression nor survival"
                " (for those, name classes such as an event within 30 days)"
            )
        return fields

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
    def in_table(self) -> str:
        """What tables call it."""
        return self.header or self.name

    @property
    def is_text(self) -> bool:
        """True if the raw outcome is a string."""
        return isinstance(self.classes[0].raw[0], str)

    @property
    def allowed(self) -> str:
        """The raw values that the outcome may have, in words fit for an error message."""
        return "one of " + ", ".join(map(str, self.index))

    @cached_property
    def index(self) -> dict[int | str, int]:
        """The class position of each raw value."""
        return {value: position for position, cls in enumerate(self.classes) for value in cls.raw}


class RiskLevel(Document):
    """A level of risk, by probabilities and never by the likeliest class, which a rare one hardly ever is.

    Of two classes: up to which probability of the event it reaches (`below`). Of more: from which probability
    (`at_least`) of any of the named classes together (`any_of`) it holds, unless a later level does.
    """

    name: str
    below: float | None = Field(default=None, gt=0, le=1)
    any_of: tuple[int | str, ...] = ()
    at_least: float | None = Field(default=None, gt=0, le=1)
