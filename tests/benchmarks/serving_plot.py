"""One picture of a benchmark of serving: requests a second of every system, and what a request costs."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the picture as PNG."""
    ranked = sorted(results["systems"].items(), key=lambda item: item[1]["requests_per_second"])
    names = [name for name, _ in ranked]
    colours = ["#1f6f8b" if name == "healthrisk" else "#8fa1ad" for name in names]
    figure, (rates, costs) = plt.subplots(
        1, 2, figsize=(11, 0.45 * len(names) + 1.6), sharey=True, layout="constrained"
    )
    panels = (
        (rates, "requests_per_second", "requests a second, 16 connections"),
        (costs, "cpu_us_per_request", "CPU of one request, µs"),
    )
    for axes, key, title in panels:
        values = [one[key] for _, one in ranked]
        # Points, for the length of a bar says nothing on a logarithmic axis.
        axes.scatter(values, names, color=colours, s=70)
        for name, value in zip(names, values, strict=True):
            axes.annotate(f"{value:,.0f}", (value, name), (9, -4), textcoords="offset points")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(x=0.2)
        axes.grid(color="#e6eaed")
        axes.set_axisbelow(True)
        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, which="both")
    figure.suptitle("One patient a request, forest of 100 trees, servers on one core", fontsize=12)
    figure.savefig(path, dpi=120)
