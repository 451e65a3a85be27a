"""The validation report: every check's verdict, and the table's distributions and missing values as plots."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from healthrisk.data.association import Associations
from healthrisk.data.validate import ValidationReport
from healthrisk.reports import pages, plots
from healthrisk.reports.distributions import distribution
from healthrisk.spec import DatasetSpec


def render(spec: DatasetSpec, results: ValidationReport) -> str:
    """Return the page for what `validate` found."""
    columns = results.columns
    shares = {column.label: column.missing / results.rows for column in columns.values()}
    return pages.render(
        "validation.html",
        spec=spec,
        results=results,
        missing=plots.data_uri(plots.to_png(_missing(shares))) if any(shares.values()) else None,
        associations=plots.data_uri(plots.to_png(_associations(results.associations))),
        strongest=_strongest(results.associations),
        distributions={name: distribution(spec.by_name[name], column) for name, column in columns.items()},
    )


def _missing(shares: dict[str, float]) -> Figure:
    figure = Figure(figsize=(6.2, 0.26 * len(shares) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    bars = axes.barh(names, values, color=plots.COLOURS[0])
    axes.bar_label(bars, [f"{value:.1%}" if value else "none" for value in values], fontsize=8, padding=3)
    axes.set_xlim(0, max(0.05, 1.15 * max(values)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("Share of rows without a value")
    axes.tick_params(labelsize=8)
    plots.hide_frame(axes)
    return figure


def _strongest(associations: Associations) -> list[tuple[str, float]]:
    """Return the columns that go most with the outcome."""
    rows = zip(associations.labels[:-1], associations.strengths[-1][:-1], strict=True)
    return sorted(rows, key=lambda row: -row[1])[:3]


def _associations(associations: Associations) -> Figure:
    """Draw the strengths as a table of shades, with the outcome last."""
    names = [textwrap.shorten(label, 28, placeholder="…") for label in associations.labels]
    side = 0.3 * len(names) + 2.2
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shades = axes.imshow(np.asarray(associations.strengths), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.axhline(len(names) - 1.5, color="#444444", linewidth=0.8)
    axes.axvline(len(names) - 1.5, color="#444444", linewidth=0.8)
    figure.colorbar(shades, ax=axes, shrink=0.6, label="0 nothing in common, 1 one tells the other")
    return figure
