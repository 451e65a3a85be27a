"""The validation report: every check's verdict, and the table's distributions and missing values as plots."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from healthrisk import pages, plots
from healthrisk.spec import DatasetSpec


def render(spec: DatasetSpec, results: dict[str, Any]) -> str:
    """Return the page for what `validate` found."""
    columns = results["columns"]
    shares = {column["label"]: column["missing"] / results["rows"] for column in columns.values()}
    drawn = {name: _distribution(column) for name, column in columns.items()}
    return pages.render(
        "validation.html",
        spec=spec,
        results=results,
        missing=plots.data_uri(plots.to_png(_missing(shares))),
        distributions={name: plots.data_uri(plots.to_png(figure)) for name, figure in drawn.items()},
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
    plots.plain(axes)
    return figure


def _distribution(column: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(2.7, 1.9), layout="constrained")
    axes = figure.add_subplot()
    if "edges" in column:
        edges, counts = np.asarray(column["edges"]), np.asarray(column["counts"])
        axes.stairs(counts, edges, fill=True, color=plots.COLOURS[0])
        occupied = np.flatnonzero(counts)
        if len(occupied):
            axes.set_xlim(edges[occupied[0]], edges[occupied[-1] + 1])
    else:
        axes.bar(list(column["counts"]), list(column["counts"].values()), color=plots.COLOURS[0])
        axes.tick_params(axis="x", rotation=30 if any(len(code) > 4 for code in column["counts"]) else 0)
    axes.tick_params(labelsize=7)
    plots.plain(axes)
    return figure
