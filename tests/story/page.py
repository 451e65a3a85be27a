"""The story as a picture, and as a page that holds it: the area week by week, the alarm's evidence, who answered."""

import base64
import html
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from healthrisk.monitoring.alarm import FALSE_ALARMS
from tests.story.course import Story

_COLOURS = ("#8a4f7d", "#1f6f8b")
_CHANGED, _GRID = "#f6efe4", "#e6eaed"
_AREAS = "Area under the ROC curve of each week's patients, with 95 % intervals; dotted: in validation"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A model's life</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
img {{ width: 100% }} table {{ border-collapse: collapse; width: 100% }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #e6eaed }}</style></head>
<body><h1>A model's life</h1>
<p>Patients who are invented after the shipped table, {patients} a week; {where}.
After week {change} the same patients come, but other values mean disease. Weeks pass by dating what was counted back;
nothing else is made up.</p>
<img alt="Area under the ROC curve by week and version, evidence of the alarm, and who answered" src="{picture}">
<h2>What happened</h2><table><tr><th>After week</th><th></th></tr>{events}</table>
<h2>The silent trial</h2><p>{trial}</p>
<h2>Versions side by side</h2><p>{differences}</p>
</body></html>
"""


def write(story: Story, folder: Path, where: str) -> None:
    """Write story.png and story.html, which says in words where it happened."""
    picture = folder / "story.png"
    draw(story, picture)
    encoded = base64.b64encode(picture.read_bytes()).decode()
    events = "".join(f"<tr><td>{week}</td><td>{html.escape(what)}</td></tr>" for week, what in story.events)
    text = _PAGE.format(
        patients=sum(story.weeks[0].answers.values()),
        where=html.escape(where),
        change=sum(not week.changed for week in story.weeks),
        picture=f"data:image/png;base64,{encoded}",
        events=events,
        trial=html.escape(_trial(story)),
        differences=html.escape(_differences(story)),
    )
    (folder / "story.html").write_text(text, "utf-8")


def _trial(story: Story) -> str:
    trial = story.trial
    if trial is None or trial.mean_difference is None or trial.other_risk_level is None:
        return "none"
    return (
        f"{trial.compared} rows were answered by the champion and, behind its answers, by the challenger: the event's "
        f"probability differs by {trial.mean_difference:.2f} in the mean and {trial.largest_difference:.2f} at most, "
        f"{trial.other_risk_level:.0%} of rows have another level of risk; {trial.failed} calls failed."
    )


def _differences(story: Story) -> str:
    return "; ".join(
        f"version {story.numbers[one.version]} less version {story.numbers[one.other]}: area "
        f"{one.roc_auc.mean:+.3f} ({one.roc_auc.low:+.3f} to {one.roc_auc.high:+.3f})"
        for one in story.differences
    )


def draw(story: Story, path: Path) -> None:
    """Draw what was done and three panels over the weeks."""
    figure, (notes, areas, evidence, shares) = plt.subplots(
        4, 1, figsize=(9, 7.6), sharex=True, height_ratios=(0.9, 3, 1.6, 1), layout="constrained"
    )
    weeks = range(1, len(story.weeks) + 1)
    change = sum(not week.changed for week in story.weeks) + 0.5
    for axes in (areas, evidence, shares):
        axes.axvspan(change, len(story.weeks) + 0.5, color=_CHANGED, zorder=0)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(color=_GRID, axis="y")
        axes.set_axisbelow(True)
    for name, colour in zip(story.validated, _COLOURS, strict=True):
        _draw_areas(areas, story, name, colour)
        known = [
            (week, one.evidence[name]) for week, one in zip(weeks, story.weeks, strict=True) if name in one.evidence
        ]
        evidence.plot(*zip(*known, strict=True), color=colour, marker="o", markersize=4)
    areas.set_title(_AREAS, loc="left", fontsize=11)
    areas.legend(loc="lower left", frameon=False, fontsize=9)
    evidence.axhline(1 / FALSE_ALARMS, color="#b3261e", linewidth=1, linestyle="--")
    evidence.set_yscale("log")
    evidence.set_title("Evidence that it has become worse; the alarm is raised at the line", loc="left", fontsize=11)
    _draw_shares(shares, story)
    shares.set_xticks(list(weeks))
    shares.set_xlabel("week")
    _draw_notes(notes, areas, story)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_areas(axes: Any, story: Story, name: str, colour: str) -> None:
    known = [(week, one.area[name]) for week, one in enumerate(story.weeks, 1) if name in one.area]
    places, found = [week for week, _ in known], [area for _, area in known]
    means = [area.mean for area in found]
    spread = [[area.mean - area.low for area in found], [area.high - area.mean for area in found]]
    axes.errorbar(places, means, spread, color=colour, marker="o", capsize=2, label=f"version {name}")
    validated = story.validated[name]
    axes.hlines(validated, places[0] - 0.4, places[-1] + 0.4, color=colour, linewidth=1, linestyle=":")


def _draw_shares(axes: Any, story: Story) -> None:
    weeks = story.weeks
    floor = [0.0] * len(weeks)
    for name, colour in zip(story.validated, _COLOURS, strict=True):
        parts = [week.answers.get(name, 0) / sum(week.answers.values()) for week in weeks]
        axes.bar(range(1, len(weeks) + 1), parts, bottom=floor, color=colour, width=0.8)
        floor = [low + part for low, part in zip(floor, parts, strict=True)]
    axes.set_yticks([0, 1], ["0", "all"])
    axes.set_title("Who answered", loc="left", fontsize=11)


def _draw_notes(axes: Any, below: Any, story: Story) -> None:
    """Say above the weeks what was done after the one before."""
    done: dict[int, list[str]] = {}
    for week, what in story.events:
        done.setdefault(week, []).append(what)
    for week, what in done.items():
        below.axvline(week + 0.5, color="#9aa5ab", linewidth=0.7)
        axes.annotate(", ".join(what), (week + 0.5, 0), rotation=40, va="bottom", ha="left", fontsize=9)
    axes.set_axis_off()
