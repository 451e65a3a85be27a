"""The plots of a model: readable in print and by the colour-blind, drawn without a display.

Colours are those of Okabe and Ito (2008); lines differ in style as well as in colour.
"""

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

import joblib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from healthrisk import engine
from healthrisk.training.decision import Curves, Importance
from healthrisk.training.intervals import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 150
# Narrow, so that letters stay legible where a phone shrinks a plot to its width.
WIDTH = 4.8
STYLES = ("-", "--", "-.", ":")
# A function and what it draws: a process that draws beside others is sent these.
Drawing = partial[Figure]


def draw(drawings: Mapping[str, Drawing]) -> dict[str, bytes]:
    """Return as PNG what each function draws, by name. It takes a tenth of a second each, so all cores do."""
    beside = joblib.Parallel(n_jobs=engine.side_by_side(), backend="multiprocessing")
    pictures = beside(joblib.delayed(_draw)(drawing) for drawing in drawings.values())
    return dict(zip(drawings, pictures, strict=True))


def _draw(drawing: Drawing) -> bytes:
    return to_png(drawing())


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.dpi = DPI
    # What `savefig` writes, which draws everything twice.
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """Return PNG bytes as a data URI, so that a page carries its pictures with it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def roc(curves: dict[str, Curves]) -> Figure:
    """Plot ROC curves by name."""
    figure, axes = square("False positive rate", "True positive rate")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for position, (name, curve) in enumerate(curves.items()):
        axes.plot(curve.roc.fpr, curve.roc.tpr, label=name, **line_style(position))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure


def calibration(curves: dict[str, Curves]) -> Figure:
    """Plot observed shares against predicted probabilities; a perfect model lies on the diagonal."""
    figure, axes = square("Predicted probability", "Observed share")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for position, (name, curve) in enumerate(curves.items()):
        points = curve.calibration
        axes.plot(points.predicted, points.observed, marker="o", markersize=4, label=name, **line_style(position))
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def confusion(matrix: Sequence[Sequence[int]], names: list[str]) -> Figure:
    """Plot a confusion matrix [true, predicted] with its counts; shades are shares of the true class."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.75 * len(names) + 1.8)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black"
        )
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    return figure


def importance(rows: Sequence[Importance], metric: str) -> Figure:
    """Plot the loss of a metric, named in words, when each feature is shuffled, with one standard deviation."""
    shown = rows[:15][::-1]
    figure = Figure(figsize=(WIDTH, 0.32 * len(shown) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    labels, means, spread = zip(*((wrap_label(row.label), row.mean, row.sd) for row in shown), strict=True)
    axes.barh(labels, means, xerr=spread, color=COLOURS[0], ecolor="#444444")
    axes.set_xlabel(f"Loss of {metric} when shuffled")
    axes.tick_params(labelsize=8)
    hide_frame(axes)
    return figure


def intervals(rows: Sequence[tuple[str, Estimate]], title: str) -> Figure:
    """Plot the mean and the 95 % interval of each row."""
    shown = rows[::-1]
    figure = Figure(figsize=(WIDTH, 0.34 * len(shown) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    for position, (_, value) in enumerate(shown):
        axes.plot([value.low, value.high], [position, position], color=COLOURS[0], linewidth=2)
        axes.plot(value.mean, position, "o", color=COLOURS[1])
    axes.set_yticks(range(len(shown)), [wrap_label(name) for name, _ in shown], fontsize=9)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(title)
    hide_frame(axes)
    return figure


def square(x: str, y: str) -> tuple[Figure, Any]:
    """Return a figure of two shares, one beside the other."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    hide_frame(axes)
    return figure, axes


class LineStyle(TypedDict):
    """How matplotlib draws a line."""

    color: str
    linestyle: str
    linewidth: float


def line_style(position: int) -> LineStyle:
    """Return the colour and style of a line among several."""
    return {"color": COLOURS[position % len(COLOURS)], "linestyle": STYLES[position % len(STYLES)], "linewidth": 1.6}


def wrap_label(label: str) -> str:
    """Return a long label in lines, so that it leaves the plot its width."""
    return textwrap.fill(label, 30)


def hide_frame(axes: Any) -> None:
    """Take away the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)
