"""How the model treats groups of people: every sensitive column of the spec, numbers cut into bands.

Rates are fairlearn's; shares have Wilson intervals, differences Newcombe's, areas under the curve bootstrap intervals.
One gate compares true positive rates (equal opportunity: Hardt, Price and Srebro 2016), the other asks that risks mean
the same in every group (calibration in the large within each). Where the risk itself differs between groups, as it does
with age, no calibrated model finds their events alike, not even one that knows the true risks (Chouldechova, Big Data
5, 2017; Kleinberg, Mullainathan and Raghavan, ITCS 2017): a spec then asks the first of some columns and the second of
others. Either is inconclusive where there are too few cases, or an interval reaches across the bound.
"""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from fairlearn import metrics as fl
from numpy.typing import NDArray

from healthrisk.evidence import calibration
from healthrisk.evidence.documents import GroupComparison, GroupFigures
from healthrisk.evidence.event import Event
from healthrisk.spec import Column, DatasetSpec, GateResult, Verdict
from healthrisk.spec.groups import group_names, group_places
from healthrisk.spec.metric import GROUP_CALIBRATION, ROC_AUC, SENSITIVITY_DIFFERENCE
from healthrisk.training import bootstrap
from healthrisk.training.intervals import CONFIDENCE, Estimate, at_confidence, difference, proportion

Rate = Callable[..., float]
# Each rate, and the rows of a group that it is a share of.
RATES: dict[str, tuple[Rate, str]] = {
    "selection_rate": (fl.selection_rate, "rows"),
    "true_positive_rate": (fl.true_positive_rate, "cases"),
    "false_negative_rate": (fl.false_negative_rate, "cases"),
    "false_positive_rate": (fl.false_positive_rate, "others"),
}
JUDGED = "true_positive_rate"


def audit(spec: DatasetSpec, matrix: NDArray[np.float64], event: Event, seed: int) -> tuple[GroupComparison, ...]:
    """Return, for each sensitive column, its groups with their figures, differences and ratios of rates, and a verdict.

    `matrix` [rows, features] is encoded; rows whose value is missing form a group of their own.
    """
    return tuple(
        _compare(spec, spec.by_name[name], matrix[:, spec.features.index(name)], event, seed) for name in spec.sensitive
    )


def intersections(spec: DatasetSpec, matrix: NDArray[np.float64], event: Event, seed: int) -> tuple[GroupFigures, ...]:
    """Return the figures of every group of people who share two sensitive columns: women below 50, for one."""
    combined = []
    for one, other in combinations(spec.sensitive, 2):
        (names, places), (others, beside) = (
            groups(spec, spec.by_name[name], matrix[:, spec.features.index(name)]) for name in (one, other)
        )
        labels = spec.by_name[one].label, spec.by_name[other].label
        for place, second in sorted(set(zip(places.tolist(), beside.tolist(), strict=True))):
            name = f"{labels[0]} {names[place]}, {labels[1].lower()} {others[second]}"
            among = event.where((places == place) & (beside == second))
            combined.append(_group(name, among, seed, spec.evidence.min_cases))
    return tuple(combined)


def groups(
    spec: DatasetSpec, column: Column, values: NDArray[np.float64]
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the groups' names, in the spec's order, and each row's place among them [rows].

    A code's groups are its meanings, a number's are bands.
    """
    known = values[~np.isnan(values)]
    quartiles = [] if column.kind == "code" else np.unique(np.quantile(known, [0.25, 0.5, 0.75])).tolist()
    cuts = spec.evidence.bands.get(column.name) or quartiles
    return np.array(group_names(column, cuts), dtype=object), group_places(column, cuts, values)


def _compare(
    spec: DatasetSpec, column: Column, values: NDArray[np.float64], event: Event, seed: int
) -> GroupComparison:
    names, places = groups(spec, column, values)
    rows = [
        _group(str(names[place]), event.where(places == place), seed, spec.evidence.min_cases)
        for place in np.unique(places)
    ]
    frame = _rates(names, places, event)
    apart, ratio = frame.difference(), frame.ratio()
    differences = {rate: _spread(rows, rate, float(apart[rate])) for rate in RATES}
    widest, result, reason = _judge(spec, column, rows)
    return GroupComparison(
        column=column.name,
        label=column.label,
        unit=column.unit,
        groups=tuple(rows),
        difference=differences,
        ratio={rate: float(ratio[rate]) if differences[rate] and np.isfinite(ratio[rate]) else None for rate in RATES},
        widest=widest,
        reason=reason,
        gate=result,
        calibration_gate=_judge_calibration(spec, column, rows),
    )


def _rates(names: NDArray[np.object_], places: NDArray[np.intp], event: Event) -> fl.MetricFrame:
    """Return the rates of all groups: rows of a group that fare alike stand together as one that weighs as many."""
    cells, rows = np.unique(4 * places + 2 * event.happened + event.predicted, return_counts=True)
    return fl.MetricFrame(
        metrics={name: _where_defined(rate, among) for name, (rate, among) in RATES.items()},
        y_true=cells // 2 % 2,
        y_pred=cells % 2,
        sensitive_features=names[cells // 4],
        sample_params={name: {"sample_weight": rows} for name in RATES},
    )


def _where_defined(rate: Rate, among: str) -> Rate:
    """Return a rate that is NaN in a group without a row that it is a share of; there fairlearn says 0."""

    def defined(y_true: NDArray[np.int64], y_pred: NDArray[np.int64], sample_weight: NDArray[np.intp]) -> float:
        cases = int((y_true == 1).sum())
        of = {"rows": len(y_true), "cases": cases, "others": len(y_true) - cases}[among]
        return float(rate(y_true, y_pred, sample_weight=sample_weight)) if of else math.nan

    return defined


def _group(name: str, event: Event, seed: int, least: int) -> GroupFigures:
    rows, cases = len(event.happened), int(event.happened.sum())
    hit = int((event.happened & event.predicted).sum())
    alarm = int((~event.happened & event.predicted).sum())
    area = None
    # Resamples of two events say nothing of a third.
    if min(cases, rows - cases) >= least:
        area = bootstrap.estimate(ROC_AUC, event.labels, event.both, seed)
    return GroupFigures(
        group=name,
        rows=rows,
        cases=cases,
        others=rows - cases,
        rates={
            "selection_rate": proportion(hit + alarm, rows),
            "true_positive_rate": proportion(hit, cases) if cases else None,
            "false_negative_rate": proportion(cases - hit, cases) if cases else None,
            "false_positive_rate": proportion(alarm, rows - cases) if rows - cases else None,
        },
        roc_auc=area,
        in_the_large=calibration.in_the_large(event),
    )


def _spread(rows: list[GroupFigures], rate: str, apart: float) -> Estimate | None:
    """Return fairlearn's difference of a rate, with the interval of the groups that lie farthest apart."""
    known = [row for row in rows if row.rates[rate]]
    return _widest(known, rate)[1].model_copy(update={"mean": apart}) if len(known) > 1 else None


def _judge(
    spec: DatasetSpec, column: Column, rows: list[GroupFigures]
) -> tuple[Estimate | None, GateResult | None, str]:
    """Return the widest difference of true positive rates, its gate's result, and what there is to say of it."""
    gate, least = spec.group_gate(SENSITIVITY_DIFFERENCE, column.name), spec.evidence.min_cases
    fit = [row for row in rows if row.cases >= least]
    widest, verdict = None, Verdict.INCONCLUSIVE
    if len(fit) < 2:
        reason = f"fewer than two groups have {least} cases"
    else:
        between, widest = _widest(fit, JUDGED)
        if gate is None:
            reason = f"{between}: the spec sets no bound"
        elif widest.low > gate.bound:
            verdict, reason = Verdict.FAILED, f"{between}: even the lower end of the interval lies above the bound"
        elif widest.high <= gate.bound:
            verdict, reason = Verdict.PASSED, f"{between}: even the upper end of the interval lies within the bound"
        else:
            reason = f"{between}: too few cases: the interval reaches across the bound"
    value = widest and widest.mean
    if gate is None:
        return widest, None, reason
    return widest, GateResult(gate=gate, group=column.label, value=value, verdict=verdict, reason=reason), reason


def _judge_calibration(spec: DatasetSpec, column: Column, rows: list[GroupFigures]) -> GateResult | None:
    """Return how the group does whose risks lie farthest from what happened, if the spec sets a bound.

    Bonferroni: that it is the farthest of several must not make it fail.
    """
    gate, least = spec.group_gate(GROUP_CALIBRATION, column.name), spec.evidence.min_cases
    if gate is None:
        return None
    fit = {row.group: row.in_the_large for row in rows if row.in_the_large and min(row.cases, row.others) >= least}
    few = [row.group for row in rows if row.group not in fit]
    reason = f"fewer than {least} events or others: {', '.join(few)}" if few else ""
    if not fit:
        return GateResult(gate=gate, group=column.label, value=None, verdict=Verdict.INCONCLUSIVE, reason=reason)
    judged = []
    for name, estimate in fit.items():
        wide = at_confidence(estimate, 1 - (1 - CONFIDENCE) / len(fit))
        judged.append((gate.judge_interval(wide.low, wide.high), abs(wide.mean), name, wide))
    verdicts = [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED]
    verdict, _, name, worst = min(judged, key=lambda one: (verdicts.index(one[0]), -one[1]))
    return GateResult(
        gate=gate,
        group=column.label,
        value=worst.mean,
        low=worst.low,
        high=worst.high,
        verdict=verdict,
        reason=f"farthest: {name}; {reason}".removesuffix("; "),
    )


def _widest(rows: list[GroupFigures], rate: str) -> tuple[str, Estimate]:
    """Return which two of several groups lie farthest apart in a rate, and by how much.

    Bonferroni: the widest of several differences has the confidence of one of several.
    """
    pairs = list(combinations(rows, 2))
    confidence = 1 - (1 - CONFIDENCE) / len(pairs)
    differences = {f"{a.group} against {b.group}": _apart(a, b, rate, confidence) for a, b in pairs}
    return max(differences.items(), key=lambda item: item[1].mean)


def _apart(a: GroupFigures, b: GroupFigures, rate: str, confidence: float) -> Estimate:
    one, other = _rate(a, rate, confidence), _rate(b, rate, confidence)
    return difference(one, other) if one.mean >= other.mean else difference(other, one)


def _rate(row: GroupFigures, rate: str, confidence: float) -> Estimate:
    """Return a rate that a group has, with an interval of another confidence."""
    size, known = {"rows": row.rows, "cases": row.cases, "others": row.others}[RATES[rate][1]], row.rates[rate]
    if known is None:
        raise ValueError(f"group {row.group!r} has no {rate}")
    return proportion(round(known.mean * size), size, confidence)
