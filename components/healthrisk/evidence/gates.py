"""The gates on probabilities: whether they mean what they say, and are worth more than what needs no model.

All are judged on every row, by a model that has not seen it. Each figure has a 95 % interval, and an interval that
reaches across a bound, or a figure from fewer than `min_cases` events, is inconclusive. Shares have Wilson intervals.
Gains are paired: the mean over rows of what the model earns above the other, with the standard error of that mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from healthrisk.evidence import ablation, calibration, event
from healthrisk.evidence.documents import Calibration
from healthrisk.evidence.event import Event
from healthrisk.spec import DatasetSpec, Gate, GateResult, Verdict
from healthrisk.spec import metric as names
from healthrisk.spec.metric import Metric
from healthrisk.training import intervals, metrics

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What is judged: class positions [rows], probabilities [rows, classes], and an encoded matrix [rows, features]."""

    spec: DatasetSpec
    y: NDArray[np.int64]
    p: Values
    matrix: Values

    @property
    def event(self) -> Event:
        """The yes/no question within the classes."""
        return event.binarize(self.spec, self.y, self.p)


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval, the number of cases it stands on, and what there is to say of it."""

    mean: float
    low: float
    high: float
    cases: int
    reason: str = ""


def judge(judged: Judged) -> list[GateResult]:
    """Return the results of the spec's gates on probabilities."""
    gates = [gate for gate in judged.spec.all_gates if gate.metric in ESTIMATES]
    return [_result(gate, ESTIMATES[gate.metric](judged, gate), judged.spec.evidence.min_cases) for gate in gates]


def _result(gate: Gate, estimate: Estimate | None, least: int) -> GateResult:
    if estimate is None:
        reason = "it does not exist where only one outcome occurs"
        return GateResult(gate=gate, value=None, verdict=Verdict.INCONCLUSIVE, reason=reason)
    verdict, reason = gate.judge_interval(estimate.low, estimate.high), estimate.reason
    if verdict is Verdict.INCONCLUSIVE:
        reason = reason or "the interval reaches across the bound"
    if estimate.cases < least:
        verdict, reason = (
            Verdict.INCONCLUSIVE,
            f"{reason}; {estimate.cases} cases, {least} are needed".removeprefix("; "),
        )
    return GateResult(
        gate=gate, value=estimate.mean, low=estimate.low, high=estimate.high, verdict=verdict, reason=reason
    )


def _calibration(
    which: Callable[[Calibration], intervals.Estimate | None],
) -> Callable[[Judged, Gate], Estimate | None]:
    def estimate(judged: Judged, gate: Gate) -> Estimate | None:  # noqa: ARG001 - one signature for all
        figure = which(calibration.measure(judged.event))
        return Estimate(**figure.model_dump(), cases=_fewest(judged.event)) if figure else None

    return estimate


def _fewest(judged: Event) -> int:
    """The number of events, or of rows without one, whichever is smaller."""
    return int(min(judged.happened.sum(), (~judged.happened).sum()))


def _share(of: str) -> Callable[[Judged, Gate], Estimate | None]:
    def estimate(judged: Judged, gate: Gate) -> Estimate | None:
        happened, acted = judged.event.happened, judged.event.probability >= (gate.at or 0.0)
        hit, among = {
            "sensitivity": (acted & happened, happened),
            "specificity": (~acted & ~happened, ~happened),
            "ppv": (acted & happened, acted),
            "npv": (~acted & ~happened, ~acted),
        }[of]
        return _proportion(int(hit.sum()), int(among.sum())) if among.any() else None

    return estimate


def _proportion(hits: int, of: int, reason: str = "") -> Estimate:
    return Estimate(**intervals.proportion(hits, of).model_dump(), cases=of, reason=reason)


def _net_benefit(judged: Judged, gate: Gate) -> Estimate | None:  # noqa: ARG001 - one signature for all
    """The least gain, at the risks from which people act, over the better of acting on everybody and on nobody."""
    happened, probability = judged.event.happened, judged.event.probability
    low, high = judged.spec.acting_from
    gains = []
    for threshold in np.unique(np.round([*np.arange(low, high, 0.01), high], 4)):
        worth = np.where(happened, 1.0, -threshold / (1 - threshold))
        acted = probability >= threshold
        everybody = worth.sum() > 0
        gains.append((_mean(worth * (acted.astype(float) - everybody), _fewest(judged.event)), threshold, everybody))
    least, threshold, everybody = min(gains, key=lambda gain: gain[0].mean)
    other = "everybody" if everybody else "nobody"
    return Estimate(least.mean, least.low, least.high, least.cases, f"least at {threshold:g}, beside acting on {other}")


def _log_loss_gain(judged: Judged, gate: Gate) -> Estimate | None:  # noqa: ARG001 - one signature for all
    y = judged.y
    frequencies = np.bincount(y, minlength=judged.p.shape[1]) / len(y)
    return _mean(-np.log(frequencies[y]) - metrics.row_losses(y, judged.p), int(np.bincount(y).min()))


def _accuracy_gain(judged: Judged, gate: Gate) -> Estimate | None:  # noqa: ARG001 - one signature for all
    commonest = int(np.bincount(judged.y).argmax())
    predicted = judged.p.argmax(axis=1)
    reason = "the model predicts the commonest class alone" if (predicted == commonest).all() else ""
    return _mean((predicted == judged.y).astype(float) - (judged.y == commonest), len(judged.y), reason)


def _baseline_gain(judged: Judged, gate: Gate) -> Estimate | None:  # noqa: ARG001 - one signature for all
    spec, right = judged.spec, (judged.p.argmax(axis=1) == judged.y).astype(float)
    rules = {rule.name: ablation.apply(spec, rule, judged.matrix) == judged.y for rule in spec.evidence.baselines}
    best = max(rules, key=lambda name: float(rules[name].mean()))
    return _mean(right - rules[best], len(judged.y), f"beside {best}")


def _least_recall(judged: Judged, gate: Gate) -> Estimate | None:  # noqa: ARG001 - one signature for all
    predicted, classes = judged.p.argmax(axis=1), judged.spec.target.classes
    rows = np.bincount(judged.y, minlength=len(classes)).tolist()
    hits = np.bincount(judged.y[predicted == judged.y], minlength=len(classes)).tolist()
    present = [place for place in range(len(classes)) if rows[place]]
    worst = min(present, key=lambda place: (hits[place] / rows[place], rows[place]))
    never = [repr(classes[place].name) for place in present if not (predicted == place).any()]
    reason = f"never predicted: {', '.join(never)}" if never else f"class {classes[worst].name!r}"
    return _proportion(hits[worst], rows[worst], reason)


def _mean(values: Values, cases: int, reason: str = "") -> Estimate:
    estimate = intervals.wald(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
    return Estimate(**estimate.model_dump(), cases=cases, reason=reason)


ESTIMATES: dict[Metric, Callable[[Judged, Gate], Estimate | None]] = {
    names.CALIBRATION_SLOPE: _calibration(lambda calibrated: calibrated.calibration_slope),
    names.IN_THE_LARGE: _calibration(lambda calibrated: calibrated.in_the_large),
    names.SENSITIVITY: _share("sensitivity"),
    names.SPECIFICITY: _share("specificity"),
    names.PPV: _share("ppv"),
    names.NPV: _share("npv"),
    names.NET_BENEFIT: _net_benefit,
    names.LOG_LOSS_GAIN: _log_loss_gain,
    names.ACCURACY_GAIN: _accuracy_gain,
    names.BASELINE_GAIN: _baseline_gain,
    names.LEAST_RECALL: _least_recall,
}
