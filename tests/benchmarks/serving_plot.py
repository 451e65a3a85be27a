"""One picture of a benchmark of serving: requests a second of every system, and what a request costs."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the picture as PNG."""
    found = sorted(results["systems"].items(), key=lambda item: item[1]["requests_per_second"])
    names = [name for name, _ in found]
    colours = ["#1f6f8b" if name == "healthrisk" else "#b8c4cc" for name in names]
    figure, (rates, costs) = plt.subplots(
        1, 2, figsize=(11, 0.45 * len(names) + 1.6), sharey=True, layout="constrained"
    )
    panels = (
        (rates, "requests_per_second", "requests a second, 16 connections"),
        (costs, "cpu_us_per_request", "CPU of one request, µs"),
    )
    for axes, key, title in panels:
        bars = axes.barh(names, [one[key] for _, one in found], color=colours)
        axes.bar_label(bars, fmt="{:,.0f}", padding=4)
        axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.set_title(title, loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("One patient a request, forest of 100 trees, servers on one core", fontsize=12)
    figure.savefig(path, dpi=120)
