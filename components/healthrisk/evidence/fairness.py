"""How the model treats groups of people: every sensitive column of the spec, numbers cut into bands.

Rates are fairlearn's; shares have Wilson intervals, differences Newcombe's, areas under the curve bootstrap intervals.
The gate compares true positive rates (equal opportunity: Hardt, Price and Srebro 2016) and abstains where there are too
few cases: a difference whose interval reaches across the bound is neither kept nor missed.
"""

from itertools import combinations, pairwise
from typing import Any

import numpy as np
from fairlearn import metrics as fl
from numpy.typing import NDArray

from healthrisk import metrics
from healthrisk.evidence import calibration
from healthrisk.evidence.event import Event
from healthrisk.spec import Column, DatasetSpec

RATES = {
    "selection_rate": fl.selection_rate,
    "true_positive_rate": fl.true_positive_rate,
    "false_negative_rate": fl.false_negative_rate,
    "false_positive_rate": fl.false_positive_rate,
}
JUDGED = "true_positive_rate"


def audit(spec: DatasetSpec, matrix: NDArray[np.float64], event: Event, seed: int) -> list[dict[str, Any]]:
    """Return, for each sensitive column, its groups with their figures, differences and ratios of rates, and a verdict.

    `matrix` [rows, features] is coded; rows whose value is missing form a group of their own.
    """
    return [
        _column(spec, spec.by_name[name], matrix[:, spec.features.index(name)], event, seed) for name in spec.sensitive
    ]


def groups(
    spec: DatasetSpec, column: Column, values: NDArray[np.float64]
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the groups' names, in the spec's order, and each row's place among them [rows].

    A code's groups are its meanings, a number's are bands.
    """
    absent = np.isnan(values)
    if column.kind == "code":
        names = list(column.meanings.values())
        places = (values[:, None] == np.array(list(column.values.values()))).argmax(axis=1)
    else:
        quartiles = np.unique(np.quantile(values[~absent], [0.25, 0.5, 0.75])).tolist()
        cuts = spec.evidence.bands.get(column.name) or quartiles
        between = [f"{low:g} to below {high:g}" for low, high in pairwise(cuts)]
        names = [f"below {cuts[0]:g}", *between, f"{cuts[-1]:g} or more"]
        places = np.searchsorted(cuts, values, side="right")
    return np.array([*names, "missing"], dtype=object), np.where(absent, len(names), places)


def _column(spec: DatasetSpec, column: Column, values: NDArray[np.float64], event: Event, seed: int) -> dict[str, Any]:
    names, places = groups(spec, column, values)
    predicted = event.predicted.astype(np.int64)
    frame = fl.MetricFrame(metrics=RATES, y_true=event.labels, y_pred=predicted, sensitive_features=names[places])
    rows = [_group(str(names[place]), event.where(places == place), seed) for place in np.unique(places)]
    return {
        "column": column.name,
        "label": column.label,
        "unit": column.unit,
        "groups": rows,
        "difference": {rate: float(value) for rate, value in frame.difference().items()},
        "ratio": {rate: _finite(value) for rate, value in frame.ratio().items()},
        "gate": _judge(spec, rows),
    }


def _group(name: str, event: Event, seed: int) -> dict[str, Any]:
    cases, others = int(event.happened.sum()), int((~event.happened).sum())
    hit = int((event.happened & event.predicted).sum())
    alarm = int((~event.happened & event.predicted).sum())
    row: dict[str, Any] = {
        "group": name,
        "rows": len(event.happened),
        "cases": cases,
        "selection_rate": metrics.proportion(hit + alarm, len(event.happened)),
        "true_positive_rate": metrics.proportion(hit, cases) if cases else None,
        "false_negative_rate": metrics.proportion(cases - hit, cases) if cases else None,
        "false_positive_rate": metrics.proportion(alarm, others) if others else None,
        "roc_auc": None,
        "calibration": calibration.measure(event)["in_the_large"],
    }
    if cases > 1 and others > 1:
        area = metrics.roc_auc(event.labels, event.both)
        row["roc_auc"] = {"mean": area, **metrics.bootstrap_interval("roc_auc", event.labels, event.both, seed)}
    return row


def _judge(spec: DatasetSpec, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a verdict on the widest difference of true positive rates: kept, missed, abstains, or none."""
    rule = spec.evidence.fairness
    bound = rule.max_difference
    fit = [row for row in rows if row["cases"] >= rule.min_cases]
    if len(fit) < 2:
        few = f"fewer than two groups have {rule.min_cases} cases"
        return {"verdict": "none" if bound is None else "abstains", "bound": bound, "reason": few, "difference": None}
    pairs = list(combinations(fit, 2))
    # Bonferroni: the widest of several differences is judged as one of several.
    confidence = 1 - (1 - metrics.CONFIDENCE) / len(pairs)
    found = {(a["group"], b["group"]): _apart(a, b, confidence) for a, b in pairs}
    (one, other), widest = max(found.items(), key=lambda item: item[1]["mean"])
    if bound is None:
        verdict, reason = "none", "the spec sets no bound"
    elif widest["low"] > bound:
        verdict, reason = "missed", "even the lower end of the interval lies above the bound"
    elif widest["high"] <= bound:
        verdict, reason = "kept", "even the upper end of the interval lies within the bound"
    else:
        verdict, reason = "abstains", "too few cases: the interval reaches across the bound"
    words = f"{one} against {other}: {reason}"
    return {"verdict": verdict, "bound": bound, "reason": words, "difference": widest}


def _apart(a: dict[str, Any], b: dict[str, Any], confidence: float) -> dict[str, float]:
    one, other = (
        metrics.proportion(round(row[JUDGED]["mean"] * row["cases"]), row["cases"], confidence) for row in (a, b)
    )
    return metrics.difference(one, other) if one["mean"] >= other["mean"] else metrics.difference(other, one)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
