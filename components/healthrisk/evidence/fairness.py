"""How the model treats groups of people: every sensitive column of the spec, numbers cut into bands.

Rates are fairlearn's; shares have Wilson intervals, differences Newcombe's, areas under the curve bootstrap intervals.
The gate compares true positive rates (equal opportunity: Hardt, Price and Srebro 2016) and is inconclusive where there
are too few cases: a difference whose interval reaches across the bound neither passes nor fails.
"""

import math
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from fairlearn import metrics as fl
from numpy.typing import NDArray

from healthrisk.evidence import calibration
from healthrisk.evidence.event import Event
from healthrisk.spec import Column, DatasetSpec, GateResult, Verdict
from healthrisk.spec.metric import ROC_AUC, SENSITIVITY_DIFFERENCE
from healthrisk.training import metrics

Rate = Callable[[NDArray[np.int64], NDArray[np.int64]], float]
# Each rate, and the rows of a group that it is a share of.
RATES: dict[str, tuple[Rate, str]] = {
    "selection_rate": (fl.selection_rate, "rows"),
    "true_positive_rate": (fl.true_positive_rate, "cases"),
    "false_negative_rate": (fl.false_negative_rate, "cases"),
    "false_positive_rate": (fl.false_positive_rate, "others"),
}
JUDGED = "true_positive_rate"


def audit(spec: DatasetSpec, matrix: NDArray[np.float64], event: Event, seed: int) -> list[dict[str, Any]]:
    """Return, for each sensitive column, its groups with their figures, differences and ratios of rates, and a verdict.

    `matrix` [rows, features] is encoded; rows whose value is missing form a group of their own.
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
        places = (values[:, None] == np.array(list(column.code_values.values()))).argmax(axis=1)
    else:
        quartiles = np.unique(np.quantile(values[~absent], [0.25, 0.5, 0.75])).tolist()
        cuts = spec.evidence.bands.get(column.name) or quartiles
        between = [f"{low:g} to below {high:g}" for low, high in pairwise(cuts)]
        names = [f"below {cuts[0]:g}", *between, f"{cuts[-1]:g} or more"]
        places = np.searchsorted(cuts, values, side="right")
    return np.array([*names, "missing"], dtype=object), np.where(absent, len(names), places)


def _column(spec: DatasetSpec, column: Column, values: NDArray[np.float64], event: Event, seed: int) -> dict[str, Any]:
    names, places = groups(spec, column, values)
    rows = [
        _group(str(names[place]), event.where(places == place), seed, spec.evidence.min_cases)
        for place in np.unique(places)
    ]
    frame = fl.MetricFrame(
        metrics={name: _where_defined(rate, among) for name, (rate, among) in RATES.items()},
        y_true=event.labels,
        y_pred=event.predicted.astype(np.int64),
        sensitive_features=names[places],
    )
    apart, ratio = frame.difference(), frame.ratio()
    difference = {rate: _spread(rows, rate, float(apart[rate])) for rate in RATES}
    return {
        "column": column.name,
        "label": column.label,
        "unit": column.unit,
        "groups": rows,
        "difference": difference,
        "ratio": {
            rate: float(ratio[rate]) if difference[rate] and np.isfinite(ratio[rate]) else None for rate in RATES
        },
        **_judge(spec, column, rows),
    }


def _where_defined(rate: Rate, among: str) -> Rate:
    """Return a rate that is NaN in a group without a row that it is a share of; there fairlearn says 0."""

    def defined(y_true: NDArray[np.int64], y_pred: NDArray[np.int64]) -> float:
        cases = int((y_true == 1).sum())
        of = {"rows": len(y_true), "cases": cases, "others": len(y_true) - cases}[among]
        return float(rate(y_true, y_pred)) if of else math.nan

    return defined


def _group(name: str, event: Event, seed: int, least: int) -> dict[str, Any]:
    rows, cases = len(event.happened), int(event.happened.sum())
    hit = int((event.happened & event.predicted).sum())
    alarm = int((~event.happened & event.predicted).sum())
    row: dict[str, Any] = {
        "group": name,
        "rows": rows,
        "cases": cases,
        "others": rows - cases,
        "selection_rate": metrics.proportion(hit + alarm, rows),
        "true_positive_rate": metrics.proportion(hit, cases) if cases else None,
        "false_negative_rate": metrics.proportion(cases - hit, cases) if cases else None,
        "false_positive_rate": metrics.proportion(alarm, rows - cases) if rows - cases else None,
        "roc_auc": None,
        "calibration": calibration.measure(event)["in_the_large"],
    }
    # Resamples of two events say nothing of a third.
    if min(cases, rows - cases) >= least:
        area = metrics.roc_auc(event.labels, event.both)
        row["roc_auc"] = {"mean": area, **metrics.bootstrap_interval(ROC_AUC, event.labels, event.both, seed)}
    return row


def _spread(rows: list[dict[str, Any]], rate: str, apart: float) -> dict[str, float] | None:
    """Return fairlearn's difference of a rate, with the interval of the groups that lie farthest apart."""
    known = [row for row in rows if row[rate]]
    return {**_widest(known, rate)[1], "mean": apart} if len(known) > 1 else None


def _judge(spec: DatasetSpec, column: Column, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the widest difference of true positive rates, what there is to say of it, and its gate's result."""
    gate, least = spec.gate(SENSITIVITY_DIFFERENCE), spec.evidence.min_cases
    fit = [row for row in rows if row["cases"] >= least]
    widest, verdict = None, Verdict.INCONCLUSIVE
    if len(fit) < 2:
        reason = f"fewer than two groups have {least} cases"
    else:
        between, widest = _widest(fit, JUDGED)
        if gate is None:
            reason = f"{between}: the spec sets no bound"
        elif widest["low"] > gate.bound:
            verdict, reason = Verdict.FAILED, f"{between}: even the lower end of the interval lies above the bound"
        elif widest["high"] <= gate.bound:
            verdict, reason = Verdict.PASSED, f"{between}: even the upper end of the interval lies within the bound"
        else:
            reason = f"{between}: too few cases: the interval reaches across the bound"
    value = widest and widest["mean"]
    result = gate and GateResult(gate=gate, group=column.label, value=value, verdict=verdict, reason=reason)
    return {"widest": widest, "reason": reason, "gate": result and result.model_dump(mode="json")}


def _widest(rows: list[dict[str, Any]], rate: str) -> tuple[str, dict[str, float]]:
    """Return which two of several groups lie farthest apart in a rate, and by how much.

    Bonferroni: the widest of several differences has the confidence of one of several.
    """
    pairs = list(combinations(rows, 2))
    confidence = 1 - (1 - metrics.CONFIDENCE) / len(pairs)
    found = {f"{a['group']} against {b['group']}": _apart(a, b, rate, confidence) for a, b in pairs}
    return max(found.items(), key=lambda item: item[1]["mean"])


def _apart(a: dict[str, Any], b: dict[str, Any], rate: str, confidence: float) -> dict[str, float]:
    sizes = (a[RATES[rate][1]], b[RATES[rate][1]])
    one, other = (
        metrics.proportion(round(row[rate]["mean"] * size), size, confidence)
        for row, size in zip((a, b), sizes, strict=True)
    )
    return metrics.difference(one, other) if one["mean"] >= other["mean"] else metrics.difference(other, one)
