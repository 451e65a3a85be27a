"""Whether rows still look like those a model was made from, by counts alone: a file's, or those that servers keep.

Each feature is tested twice, for its values and for its share of missing ones, and the predicted classes once: numbers
by Kolmogorov and Smirnov's test on the reference's edges (on few edges it alarms too seldom, never too often), codes by
Pearson's chi-square. P values are adjusted by Benjamini and Hochberg (JRSS B 57, 1995). The verdict needs an effect as
well: with enough rows every difference is significant.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

Counts = NDArray[np.float64]
# The share of tables without any drift in which something is said to drift, at most.
FALSE_ALARMS = 0.05
# Distances (of Kolmogorov and Smirnov, or total variation) from which a difference matters, and from which it is an
# alarm: the second is that of the alert on live traffic.
MODERATE, STRONG = 0.1, 0.2
# Cochran's rule: the chi-square distribution fits where every cell expects so many.
EXPECTED_IN_A_CELL = 5
# What an empty bin counts for, so that the population stability index stays finite.
_PSI_FLOOR = 1e-4


@dataclass(frozen=True)
class Shift:
    """How far one distribution moved. `distance` is 0 for the same and 1 for apart; `adjusted` is the q value."""

    feature: str
    what: str
    test: str
    p: float
    adjusted: float
    distance: float
    jensen_shannon: float
    psi: float
    verdict: str


def compare(reference: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """Compare two references on the same edges and codes; return a verdict, the features that drift, and every shift.

    The verdict is the worst of the shifts' verdicts: stable, moderate or strong.
    """
    pairs = [("predictions", "values", "chi-square", *_pair(reference["predictions"], current["predictions"]))]
    for name, known in reference["features"].items():
        seen = current["features"][name]
        test = "Kolmogorov-Smirnov" if known["kind"] == "number" else "chi-square"
        pairs.append((name, "values", test, *_pair(known, seen)))
        if known["missing"] or seen["missing"]:
            pairs.append((name, "missing", "chi-square", _present(known), _present(seen)))
    # Where one side has no value there is nothing to compare; the share of missing ones shows it.
    pairs = [pair for pair in pairs if pair[3].sum() and pair[4].sum()]
    p = np.array([_p_value(test, before, now) for _, _, test, before, now in pairs])
    adjusted = stats.false_discovery_control(p)
    shifts = [_shift(pair, *values) for pair, *values in zip(pairs, p.tolist(), adjusted.tolist(), strict=True)]
    found = [shift for shift in shifts if shift.verdict != "stable"]
    worst = "strong" if any(shift.verdict == "strong" for shift in found) else "moderate" if found else "stable"
    return {
        "verdict": worst,
        "drifting": list(dict.fromkeys(shift.feature for shift in found)),
        "rows": {"reference": reference["rows"], "current": current["rows"]},
        "false_alarms": FALSE_ALARMS,
        "shifts": [asdict(shift) for shift in sorted(shifts, key=lambda shift: -shift.distance)],
    }


def exposition(found: dict[str, Any], model: str, version: str) -> str:
    """Return a comparison as Prometheus' text, for a node exporter's textfile collector or a push gateway."""
    lines = [
        "# HELP healthrisk_drift_distance Distance of a feature's distribution from the reference: 0 same, 1 apart.",
        "# TYPE healthrisk_drift_distance gauge",
    ]
    own = f'model="{model}",version="{version}"'
    for shift in found["shifts"]:
        labels = f'{own},feature="{shift["feature"]}",what="{shift["what"]}"'
        lines.append(f"healthrisk_drift_distance{{{labels}}} {shift['distance']:.6g}")
    lines += [
        "# HELP healthrisk_drift_features Features that drift.",
        "# TYPE healthrisk_drift_features gauge",
        f"healthrisk_drift_features{{{own}}} {len(found['drifting'])}",
    ]
    return "\n".join(lines) + "\n"


def _shift(pair: tuple[str, str, str, Counts, Counts], p: float, adjusted: float) -> Shift:
    feature, what, test, before, now = pair
    one, other = before / before.sum(), now / now.sum()
    ordered = test == "Kolmogorov-Smirnov"
    distance = _largest_gap(one, other) if ordered else float(np.abs(one - other).sum() / 2)
    a, b = np.maximum(one, _PSI_FLOOR), np.maximum(other, _PSI_FLOOR)
    significant = adjusted < FALSE_ALARMS and distance >= MODERATE
    verdict = ("strong" if distance >= STRONG else "moderate") if significant else "stable"
    divergence = float(np.nan_to_num(jensenshannon(one, other, base=2)))
    return Shift(
        feature, what, test, p, adjusted, distance, divergence, float(((b - a) * np.log(b / a)).sum()), verdict
    )


def _pair(known: dict[str, Any], seen: dict[str, Any]) -> tuple[Counts, Counts]:
    return np.asarray(known["counts"], dtype=np.float64), np.asarray(seen["counts"], dtype=np.float64)


def _present(counted: dict[str, Any]) -> Counts:
    return np.array([sum(counted["counts"]), counted["missing"]], dtype=np.float64)


def _largest_gap(one: Counts, other: Counts) -> float:
    return float(np.abs(np.cumsum(one) - np.cumsum(other)).max())


def _p_value(test: str, before: Counts, now: Counts) -> float:
    n, m = before.sum(), now.sum()
    if test == "Kolmogorov-Smirnov":
        return float(stats.kstwobign.sf(_largest_gap(before / n, now / m) * np.sqrt(n * m / (n + m))))
    table = _pooled(np.array([before, now]))
    return float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0


def _pooled(table: Counts) -> Counts:
    """Return a table [2, cells] whose scarce cells are thrown together until each expects enough."""
    cells = table[:, np.argsort(table.sum(axis=0))]
    share = table.sum(axis=1).min() / table.sum()
    while cells.shape[1] > 1 and cells[:, 0].sum() * share < EXPECTED_IN_A_CELL:
        cells = np.column_stack([cells[:, 0] + cells[:, 1], cells[:, 2:]])
    return cells
