"""The outcome in a first spec: its classes in their order, and risk levels at their shares."""

import numpy as np

from healthrisk.data.distinct_values import DistinctValues
from healthrisk.errors import SpecError
from healthrisk.spec.yaml_text import in_block, in_flow, quoted, short

MOST_CLASSES = 20
# English, and what German, French, Spanish and Italian tables say for yes.
EVENT_WORDS = frozenset(
    {"1", "y", "yes", "true", "positive", "pos", "case", "dead", "died", "t", "ja", "positiv", "oui", "sí", "sì", "si"}
)


def outcome_lines(column: DistinctValues) -> tuple[list[str], list[str]]:
    """Return the lines of the outcome and of its risk levels.

    Raises:
        SpecError: a value is missing, or there are too few or too many to be classes.
    """
    _check_classes(column)
    order = _class_order(column)
    values = [column.texts[at] if column.numbers is None else int(float(column.texts[at])) for at in order]
    shares = column.counts[order] / column.counts.sum()
    binary = len(values) == 2
    lines = [
        "# With two classes the second is the event whose risk is predicted." if binary else "# The classes.",
        "target:",
        f"  name: {in_block(column.name)}",
        f"  label: {in_block(column.name.replace('_', ' '))}",
        "  classes:",
        *(_class_line(value, share) for value, share in zip(values, shares, strict=True)),
    ]
    if binary:
        event = short(float(f"{shares[1]:.2g}"))
        levels = [f"  - {{name: Low, below: {event}}}  # the event's share of the rows", "  - {name: High}"]
    else:
        rest = ", ".join(in_flow(value) for value in values[1:])
        share = short(float(f"{shares[1:].sum():.2g}"))
        levels = [
            "  - {name: Low}",
            f"  - {{name: High, any_of: [{rest}], at_least: {share}}}  # their share of the rows",
        ]
    return lines, [
        "# From which probability on a patient is treated otherwise is a clinical decision.",
        "risk_levels:",
        *levels,
    ]


def _check_classes(column: DistinctValues) -> None:
    numbers = column.numbers
    if column.missing:
        raise SpecError(f"the outcome {column.name!r} is missing in {column.missing} rows: leave such rows out first")
    if len(column.texts) < 2:
        raise SpecError(f"the outcome {column.name!r} has one value: a model needs at least two classes")
    if len(column.texts) > MOST_CLASSES or (numbers is not None and (numbers != np.floor(numbers)).any()):
        raise SpecError(
            f"the outcome {column.name!r} has {len(column.texts)} values, expected 2 to {MOST_CLASSES} classes:"
            " healthrisk does classification only, neither regression nor survival"
        )


def _class_line(value: int | str, share: float) -> str:
    given = in_flow(value)
    return f"    - {{name: {quoted(str(value))}, value: {given}, raw: [{given}]}}  # {share:.1%} of rows"


def _class_order(column: DistinctValues) -> list[int]:
    """Return the classes' places: the commonest first, but an event that its own word names last."""
    order = np.argsort(-column.counts, kind="stable").tolist()
    first_is_event, second_is_event = (column.texts[place].lower() in EVENT_WORDS for place in order[:2])
    if len(order) == 2 and first_is_event and not second_is_event:
        order.reverse()
    return [int(at) for at in order]
