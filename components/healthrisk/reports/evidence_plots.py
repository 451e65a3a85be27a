"""The plots of the evidence, in the style of all other plots."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from healthrisk.evidence.clinical_documents import SmoothCalibration
from healthrisk.evidence.documents import ExplainedPatient, MeanEffect, NetBenefit
from healthrisk.evidence.scale_documents import LearningCurve
from healthrisk.reports import plots


def decision_curve(curve: NetBenefit) -> Figure:
    """Plot net benefit against the threshold of acting, beside acting on all and on nobody."""
    figure = Figure(figsize=(plots.WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    lines = (("by the model", curve.model), ("on everybody", curve.everybody), ("on nobody", curve.nobody))
    for position, (label, benefit) in enumerate(lines):
        axes.plot(curve.thresholds, benefit, label=f"acting {label}", **plots.line_style(position))
    highest = max(*curve.model, 0.05)
    axes.set(xlabel="Risk from which one acts", ylabel="Net benefit per patient", xlim=(0, 0.95))
    axes.set_ylim(-0.25 * highest, 1.1 * highest)
    axes.legend(fontsize=8, frameon=False)
    plots.hide_frame(axes)
    return figure


def learning_curve(curve: LearningCurve) -> Figure:
    """Plot log loss against the rows that were fitted on, each size twice the one before."""
    figure = Figure(figsize=(plots.WIDTH, 3.0), layout="constrained")
    axes = figure.add_subplot()
    rows = [point.rows for point in curve.points]
    low, high = ([getattr(point.log_loss, end) for point in curve.points] for end in ("low", "high"))
    axes.fill_between(rows, low, high, color=plots.COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(rows, [point.log_loss.mean for point in curve.points], marker="o", markersize=4, **plots.line_style(0))
    axes.set_xscale("log")
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.set(xlabel="Rows fitted on", ylabel="Log loss")
    plots.hide_frame(axes)
    return figure


def smooth_calibration(curve: SmoothCalibration) -> Figure:
    """Plot a smoothed calibration curve with its band; a perfect model lies on the diagonal."""
    figure, axes = plots.square("Predicted probability", "Observed share, smoothed")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.fill_between(curve.predicted, curve.low, curve.high, color=plots.COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(curve.predicted, curve.observed, **plots.line_style(0))
    return figure


def explanation(rows: Sequence[MeanEffect]) -> Figure:
    """Plot mean absolute Shapley values."""
    shown = rows[:15][::-1]
    figure = Figure(figsize=(plots.WIDTH, 0.32 * len(shown) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([plots.wrap_label(row.label) for row in shown], [row.mean for row in shown], color=plots.COLOURS[0])
    axes.set_xlabel("Mean change of probability")
    axes.tick_params(labelsize=8)
    plots.hide_frame(axes)
    return figure


def patient(example: ExplainedPatient) -> Figure:
    """Plot one explained patient: how each value moves the probability from the base."""
    shown = example.values[:12][::-1]
    figure = Figure(figsize=(plots.WIDTH, 0.34 * len(shown) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    values = np.array([row.value for row in shown])
    # Colour and hatching: up and down differ in print, too.
    for up, colour, hatch in ((True, plots.COLOURS[1], ""), (False, plots.COLOURS[0], "///")):
        chosen = np.flatnonzero((values > 0) == up)
        axes.barh(chosen, values[chosen], color=colour, hatch=hatch, edgecolor="white")
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [plots.wrap_label(f"{row.label}: {row.shown}") for row in shown], fontsize=8)
    axes.set_xlabel(f"Change of the probability of {example.outcome}")
    axes.tick_params(labelsize=8)
    plots.hide_frame(axes)
    return figure
