"""One picture of the benchmark of scale: CPU seconds and memory of each step over the rows."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the picture as PNG: a row of panels for each number of classes."""
    kinds = sorted({run["classes"] for run in results["runs"]})
    figure, panels = plt.subplots(len(kinds), 2, figsize=(11, 4.2 * len(kinds)), squeeze=False, layout="constrained")
    for (seconds, memory), classes in zip(panels, kinds, strict=True):
        runs = sorted((run for run in results["runs"] if run["classes"] == classes), key=lambda run: run["rows"])
        for step in runs[0]["steps"]:
            style = "--" if step == "scikit-learn" else "-"
            # The largest tables may have been measured without scikit-learn's.
            known = [run for run in runs if step in run["steps"]]
            rows = [run["rows"] for run in known]
            for axes, key in ((seconds, "cpu"), (memory, "peak_mb")):
                axes.plot(rows, [run["steps"][step][key] for run in known], style, marker="o", markersize=3, label=step)
        seconds.plot(
            [run["rows"] for run in runs], [run["whole"]["cpu"] for run in runs], "k-", lw=2, label="all steps"
        )
        # From one decade to another, so that the axis has numbers.
        memory.set_ylim(100, max(1_100, 1.2 * max(run["whole"]["peak_mb"] for run in runs)))
        for axes, title in ((seconds, "CPU seconds"), (memory, "largest memory, MB")):
            axes.set(xscale="log", yscale="log", xlabel="rows of 40 columns", title=f"{title}, {classes} classes")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_minor_formatter("")
            axes.grid(color="#e6eaed")
            axes.spines[:].set_visible(False)
    # Beside the panels: within them it would cover lines.
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
