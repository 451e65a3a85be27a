"""The dashboard's panels after the story: its own queries, answered by the site's Prometheus, drawn without Grafana."""

import io
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

from tests.support import http
from tests.support.dashboard import PANELS, quick

_COLOURS = ("#1f6f8b", "#8a4f7d", "#c77f2b", "#4d7c4a", "#b3261e", "#6b7780")
_GRID = "#e6eaed"
# The grid of Grafana has 24 columns; its rows are this high, in inches.
_COLUMNS, _ROW_INCHES = 24, 0.3
_MARGIN, _MARGIN_OF_NAMES = 1, 2.9
_POINTS = 300
_UNITS = {
    "s": lambda value, _=None: f"{value * 1000:g} ms",
    "percentunit": lambda value, _=None: f"{value * 100:g} %",
    "reqps": lambda value, _=None: f"{value:g}/s",
    "none": lambda value, _=None: f"{value:g}",
}
# A panel's series: the name of each, with its seconds and values.
Series = dict[str, tuple[list[float], list[float]]]


def ask(url: str, begun: float) -> dict[int, Series]:
    """Return each panel's series since a moment, by the panel's id; what is no number is left out."""
    now = time.time()
    return {panel["id"]: _series(url, panel, begun, now) for panel in PANELS}


def _series(url: str, panel: dict[str, Any], begun: float, now: float) -> Series:
    series: Series = {}
    span = {"start": begun, "end": now, "step": max(1, round((now - begun) / _POINTS))}
    for target in panel["targets"]:
        answer = http.get(f"{url}/api/v1/query_range", params=span | {"query": quick(target["expr"])})
        for result in answer.raise_for_status().json()["data"]["result"]:
            name = target.get("legendFormat") or "{{model}} {{version}} {{revision}}"
            for label in ("model", "version", "digest", "revision", *result["metric"]):
                name = name.replace(f"{{{{{label}}}}}", result["metric"].get(label, ""))
            pairs = [(at - begun, float(value)) for at, value in result["values"] if value not in {"NaN", "+Inf"}]
            # What is zero all the time would only fill the legend.
            if any(value for _, value in pairs):
                series[name.strip()] = _with_gaps(pairs, 2 * span["step"])
    return series


def _with_gaps(pairs: list[tuple[float, float]], most: float) -> tuple[list[float], list[float]]:
    """Return seconds and values, with no number wherever two lie further apart than `most` seconds."""
    seconds, values = [pairs[0][0]], [pairs[0][1]]
    for (before, _), (at, value) in pairwise(pairs):
        if at - before > most:
            seconds.append(before)
            values.append(float("nan"))
        seconds.append(at)
        values.append(value)
    return seconds, values


def draw(panels: dict[int, Series], path: Path) -> None:
    """Draw every panel at its place."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PANELS)
    figure = plt.figure(figsize=(14, rows * _ROW_INCHES))
    for panel in PANELS:
        place = panel["gridPos"]
        # Bars have their names at their left.
        margin = _MARGIN_OF_NAMES if panel["type"] == "bargauge" else _MARGIN
        left, width = (place["x"] + margin) / _COLUMNS, (place["w"] - margin - 0.4) / _COLUMNS
        height = (place["h"] - 2.6) / rows
        axes = figure.add_axes((left, 1 - (place["y"] + place["h"] - 1.2) / rows, width, height))
        axes.set_title(panel["title"], loc="left", fontsize=10, fontweight="bold")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=7)
        _draw_panel(axes, panel, panels[panel["id"]])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    plt.close(figure)
    with Image.open(drawn) as picture:
        # A palette is as sharp, and a third of the size.
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def _draw_panel(axes: Any, panel: dict[str, Any], series: Series) -> None:
    if not series:
        axes.set_axis_off()
        axes.text(0, 1, "none", va="top", fontsize=8)
        return
    if panel["type"] == "table":
        axes.set_axis_off()
        lines = [" ".join(part[:24] for part in name.split()) for name in sorted(series)]
        axes.text(0, 1, "\n".join(lines), va="top", fontsize=6.5, family="monospace")
        return
    defaults = panel["fieldConfig"]["defaults"]
    unit = FuncFormatter(_UNITS[defaults["unit"]])
    if panel["type"] == "bargauge":
        _draw_bars(axes, series, unit)
        return
    for colour, (name, (seconds, values)) in zip(_COLOURS * len(series), series.items(), strict=False):
        axes.plot(seconds, values, color=colour, linewidth=1.2, label=name)
    axes.grid(color=_GRID)
    axes.yaxis.set_major_formatter(unit)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    if defaults.get("custom", {}).get("scaleDistribution"):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=defaults.get("min"))
    if len(series) <= len(_COLOURS):
        axes.legend(fontsize=6, framealpha=0.6, edgecolor="none", loc="best")


def _draw_bars(axes: Any, series: Series, unit: FuncFormatter) -> None:
    last = {name: values[-1] for name, (_, values) in sorted(series.items(), reverse=True)}
    axes.barh(list(last), list(last.values()), color=_COLOURS[0])
    # A version's digits, a column and a group have to find room beside their bar.
    axes.tick_params(axis="y", labelsize=6)
    axes.xaxis.set_major_formatter(unit)
    axes.grid(color=_GRID, axis="x")
    axes.set_axisbelow(True)
