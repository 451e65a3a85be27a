"""How often and how soon the alarm on live performance is raised in simulated years, by a bundle's validation.

python -m tests.benchmarks.alarm BUNDLE [--years 200] [--outcomes 2500]

Each year has its own seed, and as many outcomes on each of 250 days. Patients are drawn from validation, in the bins of
their receipts; from the change on, the world is another one:
- no change: nothing is.
- concept drift: outcomes go less with the same probabilities, so that the area under the ROC curve falls by .05.
- prevalence shift: the event's odds double, and everything else stays.
- a group gone wrong: in one group outcomes have nothing to do with probabilities any more.
"""

import argparse
import datetime
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from healthrisk.bundle import Bundle
from healthrisk.monitoring import alarm
from healthrisk.monitoring.figures import Bins, area_and_error
from healthrisk.monitoring.performance import validated_bins

DAYS = 250
START = datetime.date(2026, 1, 1)
Groups = dict[tuple[str, str], Bins]
World = Callable[[str, Bins], Bins]


def concept_drift(fall: float) -> World:
    """Return a world in which some outcomes are drawn without regard to their probability, until AUC has fallen."""

    def change(_: str, bins: Bins) -> Bins:
        def mixed(share: float) -> Bins:
            prevalence = bins.events.sum() / bins.rows.sum()
            return Bins(
                (1 - share) * bins.events + share * prevalence * bins.rows,
                (1 - share) * bins.others + share * (1 - prevalence) * bins.rows,
                bins.means,
            )

        goal = area_and_error(bins)[0] - fall
        return mixed(optimize.brentq(lambda share: area_and_error(mixed(share))[0] - goal, 0, 1))

    return change


def prevalence_shift(_: str, bins: Bins) -> Bins:
    """Return the world in which the event's odds have doubled."""
    return Bins(2 * bins.events, bins.others, bins.means)


def group_gone_wrong(name: str) -> World:
    """Return a world in which one group's outcomes are drawn by its prevalence alone."""

    def change(group: str, bins: Bins) -> Bins:
        if group != name:
            return bins
        prevalence = bins.events.sum() / bins.rows.sum()
        return Bins(prevalence * bins.rows, (1 - prevalence) * bins.rows, bins.means)

    return change


def year(validated: Groups, grouping: str, world: World, change: int, daily: int, seed: int) -> tuple[int | None, int]:
    """Simulate a year; return the alarm's day, if there was one, and the outcomes from change to alarm."""
    rng = np.random.default_rng(seed)
    own = {group: bins for group, bins in validated.items() if group[0] == grouping}
    before, after = ({g: w(g[1], bins) for g, bins in own.items()} for w in (lambda _, bins: bins, world))
    days = {}
    for day in range(DAYS):
        drawn = _draw(after if day >= change else before, daily, rng)
        total = Bins(
            sum(b.events for b in drawn.values()), sum(b.others for b in drawn.values()), validated["", ""].means
        )
        days[START + datetime.timedelta(days=day)] = {**drawn, ("", ""): total}
    kept = {group: bins for group, bins in validated.items() if group[0] in {"", grouping}}
    state = alarm.watch(kept, days, str(seed))
    raised = None if state.raised is None else (state.raised - START).days
    return raised, (0 if raised is None else (raised - change + 1) * daily)


def _draw(world: Groups, rows: int, rng: np.random.Generator) -> Groups:
    cells = np.concatenate([np.concatenate([bins.events, bins.others]) for bins in world.values()])
    counts: NDArray[np.float64] = rng.multinomial(rows, cells / cells.sum()).reshape(len(world), 2, -1).astype(float)
    return {group: Bins(*pair, bins.means) for (group, bins), pair in zip(world.items(), counts, strict=True)}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a bundle's folder")
    parser.add_argument("--grouping", default="sex", help="the sensitive column whose groups are watched")
    parser.add_argument("--group", default="female", help="the group that goes wrong")
    parser.add_argument("--years", type=int, default=200)
    parser.add_argument("--outcomes", type=int, default=2500, help="outcomes in a year")
    parser.add_argument("--change", type=int, default=100, help="the day of the change")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Print a table."""
    args = arguments()
    validated = validated_bins(Bundle.open(args.bundle), "event")
    kept = [bins for (column, _), bins in validated.items() if column in {"", args.grouping}]
    watched = sum(min(bins.events.sum(), bins.others.sum()) >= alarm.BATCH for bins in kept)
    needed = alarm.needed(validated["", ""], 2 * watched)
    worlds: dict[str, World] = {
        "no change": lambda _, bins: bins,
        "concept drift": concept_drift(alarm.AUC_FALL),
        "prevalence shift": prevalence_shift,
        "a group gone wrong": group_gone_wrong(args.group),
    }
    daily, table = args.outcomes // DAYS, {}
    print(f"{needed} outcomes are needed for a fall of AUC by {alarm.AUC_FALL}, with power {alarm.POWER}")
    print(f"{'world':<20}{'before':>9}{'after':>9}{'in time':>9}{'median outcomes':>17}")
    for name, world in worlds.items():
        years = [year(validated, args.grouping, world, args.change, daily, seed) for seed in range(args.years)]
        early = sum(raised is not None and raised < args.change for raised, _ in years)
        delays = sorted(delay for raised, delay in years if raised is not None and raised >= args.change)
        fit = args.years - early
        row = {
            "before": early / args.years,
            "after": len(delays) / fit,
            "in_time": sum(delay <= needed for delay in delays) / fit,
            "median_outcomes": statistics.median(delays) if 2 * len(delays) > fit else None,
        }
        table[name] = row
        shown = "".join(f"{row[key]:>9.1%}" for key in ("before", "after", "in_time"))
        print(f"{name:<20}{shown}{row['median_outcomes'] or '-':>17}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"needed": needed, "years": args.years, "worlds": table}, indent=1))


if __name__ == "__main__":
    main()
