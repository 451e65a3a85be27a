"""A first spec of a table: what its columns seem to be, each guess with its reason, for a person to correct.

A guess is never used unread: the text says what was seen, and what only somebody who knows the table can say.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from healthrisk.data import derive
from healthrisk.data.distinct_values import DistinctValues, guess_format, read_values
from healthrisk.data.draft_outcome import outcome_lines
from healthrisk.documents import Document
from healthrisk.errors import SpecError
from healthrisk.spec import CsvFormat, DatasetSpec
from healthrisk.spec.yaml_text import in_block, in_flow, quoted, short

MOST_CODES = 30
# Of a column that is a number, so few distinct whole values are taken for codes.
FEW_VALUES = 6
# Numbers by which tables say that a value is missing.
SENTINELS = (-9999.0, -999.0, -99.0, -9.0, -1.0, 99.0, 999.0, 9999.0, 99999.0)
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$|^\d{1,2}[./]\d{1,2}[./]\d{2,4}$")


_COLUMNS_COMMENT = (
    "# Ranges are what was seen, widened by a tenth on either side. Narrow them to what a body can show: a range",
    "# is what shows a wrong unit. `risk_direction: rises` or `falls` lets validation notice an",
    "# outcome that is inverted.",
)


class Drafted(Document):
    """Where a first spec was written, and what comes next."""

    spec: Path
    next: str


def draft(table: Path, target: str, name: str) -> str:
    """Return the YAML of a first spec of a .csv or .parquet table with a header.

    Raises:
        SourceError: the table cannot be read.
        SpecError: the table has no column `target`, its outcome has too few or too many values to be classes, or no
            column is left to learn from.
    """
    written = guess_format(table)
    columns, rows = read_values(table, written)
    by_name = {column.name: column for column in columns}
    if target not in by_name:
        raise SpecError(f"{table} has no column {target!r}; it has {', '.join(by_name)}")
    tokens = sorted(set().union(*(column.tokens for column in columns)) | {""})
    outcome, levels = outcome_lines(by_name[target])
    features = [column for column in columns if column.name != target]
    left_out = {column.name: reason for column in features if (reason := _unusable(column, rows))}
    described = [_describe(column) for column in features if column.name not in left_out]
    if not described:
        raise SpecError(f"{table} has no column beside {target!r} that a model could learn from")
    lines = [
        *_heading(table.name, rows, name, target),
        *_format_lines(written),
        f"missing_tokens: [{', '.join(quoted(token) for token in tokens)}]",
        "",
        *_COLUMNS_COMMENT,
        "columns:",
        *(line for one in described for line in one),
        *_left_out_lines(left_out),
        "",
        *outcome,
        "",
        "# Columns by which subgroups are judged, such as sex and age.",
        "sensitive: []",
        *levels,
    ]
    text = "\n".join(lines) + "\n"
    DatasetSpec.parse(text)
    return text


def _heading(table: str, rows: int, name: str, target: str) -> list[str]:
    return [
        f"# A first spec of {table}, guessed from {rows:,} rows. Read every line: only you know what the values",
        "# mean, which of them are possible, and which columns are known when a prediction is made.",
        f"name: {name}",
        f"title: {in_block(f'{target} ({table})')}",
        "description: Say who these patients are, where and when they were seen, and how the outcome was established.",
    ]


def _format_lines(written: CsvFormat) -> list[str]:
    given = written.model_dump(exclude_defaults=True)
    return [f"csv: {in_block(given)}"] if given else []


def _unusable(column: DistinctValues, rows: int) -> str:
    """Return why a column cannot be a feature, or nothing."""
    if not column.texts:
        return "no value at all"
    if len(column.texts) == 1:
        return f"the same value everywhere: {column.texts[0]!r}"
    if column.numbers is not None:
        whole = all(float(text).is_integer() for text in column.texts)
        unique = whole and len(column.texts) == rows and rows > MOST_CODES
        return "a different whole number in every row: an identifier" if unique else ""
    if all(_DATE.match(text) for text in column.texts[:50]):
        return "dates; a number column with `between: {first: .., last: .., unit: years}` has the time between two"
    if len(column.texts) > MOST_CODES:
        return f"{len(column.texts)} different texts: an identifier, or free text"
    return ""


def _left_out_lines(left_out: dict[str, str]) -> Iterator[str]:
    if left_out:
        yield ""
        yield "# Columns of the table that no model can use as they stand; they are there and are not read."
        yield "ignore:"
        for name, reason in left_out.items():
            yield f"  - {in_block(name)}  # {reason}"


def _describe(column: DistinctValues) -> list[str]:
    """Return a column's lines: a comment with what was seen, and its entry."""
    numbers = column.numbers
    label = column.name.replace("_", " ").strip() or column.name
    # Each field as YAML.
    entry = {"name": in_flow(column.name), "label": in_flow(label)}
    sentinels: list[float] = []
    if numbers is None and derive.are_booleans(column.texts):
        entry |= {"kind": "boolean"}
        seen = "two words for yes and no"
    elif numbers is None or _few_whole(numbers):
        entry |= {"kind": "code", "codes": in_block(_codes(column, numbers))}
        seen = f"{len(column.texts)} values, so codes: say what each one means"
    else:
        sentinels = _sentinels(numbers, column.counts)
        measured = numbers[~np.isin(numbers, sentinels)]
        whole = bool((measured == np.floor(measured)).all())
        entry |= {"kind": "integer" if whole else "number", "range": in_block(_range(measured))}
        seen = f"{len(measured)} values from {measured.min():g} to {measured.max():g}; give its unit"
    if column.missing or sentinels:
        codes = {"values": [short(value) for value in sentinels]} if sentinels else {}
        entry["missing"] = in_block({"allowed": True, **codes})
        seen += f"; {column.missing} missing" if column.missing else ""
    if sentinels:
        seen += f"; {', '.join(f'{value:g}' for value in sentinels)} lies apart from all others: taken for missing"
    written = ", ".join(f"{name}: {value}" for name, value in entry.items())
    return [f"  # {seen}", f"  - {{{written}}}"]


def _few_whole(numbers: NDArray[np.float64]) -> bool:
    return len(numbers) <= FEW_VALUES and bool((numbers == np.floor(numbers)).all())


def _codes(column: DistinctValues, numbers: NDArray[np.float64] | None) -> dict[str, str] | dict[int, str]:
    if numbers is None:
        return {text: text for text in sorted(column.texts)}
    return {int(value): f"{value:g}" for value in np.unique(numbers).tolist()}


def _sentinels(numbers: NDArray[np.float64], counts: NDArray[np.int64]) -> list[float]:
    """Return values that tables use for missing and that stand far from the others: more than half their span away."""
    candidates = np.isin(numbers, SENTINELS)
    others = numbers[~candidates]
    if not candidates.any() or len(others) <= FEW_VALUES:
        return []
    gap = (others.max() - others.min()) / 2
    apart = (numbers < others.min() - gap) | (numbers > others.max() + gap) | ((numbers < 0) & (others.min() >= 0))
    apart &= candidates
    return sorted(numbers[apart & (counts > 1)].tolist())


def _range(numbers: NDArray[np.float64]) -> list[float | int]:
    """Return bounds a tenth of the span outside of what was seen, rounded outwards to two digits; no negative ones
    where nothing seen is negative.
    """
    low, high = float(numbers.min()), float(numbers.max())
    margin = (high - low) / 10
    unit = 10.0 ** (np.floor(np.log10(margin)) if margin else 0)
    bottom, top = np.floor((low - margin) / unit) * unit, np.ceil((high + margin) / unit) * unit
    return [short(max(bottom, 0.0) if low >= 0 else bottom), short(top)]
