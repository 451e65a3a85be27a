"""A column's distribution in shares of a picture, for a template to draw.

A table may have hundreds of columns, and matplotlib takes a tenth of a second for each.
"""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from healthrisk.data.profile import ColumnSummary
from healthrisk.spec import Column

_NAME_CHARACTERS, _TICKS = 24, 4


@dataclass(frozen=True)
class Bar:
    """How often one code, or a value of one interval, is there: in rows, and as a share of the most frequent one's."""

    rows: int
    share: float


@dataclass(frozen=True)
class Codes:
    """A bar for each code, by its meaning."""

    bars: list[tuple[str, Bar]]


@dataclass(frozen=True)
class Numbers:
    """A bar for each interval that is drawn, where it begins, and ticks; positions are shares of the width."""

    width: float
    bars: list[tuple[float, Bar]]
    ticks: list[tuple[float, str]]
    most: int


def distribution(column: Column, summary: ColumnSummary) -> Codes | Numbers:
    """Return what to draw of a column's counts."""
    most = max(summary.counts)
    bars = [Bar(rows, rows / max(most, 1)) for rows in summary.counts]
    if column.kind == "code":
        names = (textwrap.shorten(meaning, _NAME_CHARACTERS, placeholder="…") for meaning in column.meanings.values())
        return Codes(list(zip(names, bars, strict=True)))
    occupied = np.flatnonzero(summary.counts)
    first, last = (occupied[0], occupied[-1]) if len(occupied) else (0, len(bars) - 1)
    edges = np.asarray(summary.edges[first : last + 2])
    places = (edges - edges[0]) / (edges[-1] - edges[0])
    ticks = MaxNLocator(_TICKS, integer=column.kind == "integer").tick_values(edges[0], edges[-1])
    within = [float(tick) for tick in ticks if edges[0] <= tick <= edges[-1]]
    return Numbers(
        width=float(places[1]),
        bars=list(zip(places[:-1].tolist(), bars[first : last + 1], strict=True)),
        ticks=[((tick - edges[0]) / (edges[-1] - edges[0]), f"{tick:,.6g}") for tick in within],
        most=most,
    )
