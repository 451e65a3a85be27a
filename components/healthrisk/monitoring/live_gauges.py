"""Live performance as Prometheus' gauges, of everybody and each group in all months together."""

import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from healthrisk.monitoring.alarm import AlarmState
from healthrisk.monitoring.estimate import BLIND, Estimated
from healthrisk.monitoring.figures import OperatingPoint, Performance
from healthrisk.monitoring.performance import LivePerformance, Slice, VersionPerformance
from healthrisk.training.intervals import Estimate

_OWN = ["model", "version"]
_SLICE = [*_OWN, "label", "grouping", "group"]
Named = Iterator[tuple[str, Estimate | None]]


class LiveGauges(Collector):
    """Shows what was assessed last. Figures of too few outcomes are not shown; how many there are always is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._versions: list[VersionPerformance] = []
        self._updated = 0.0
        registry.register(self)

    def show(self, models: Iterable[LivePerformance]) -> None:
        """Replace what is shown."""
        self._versions = [version for performance in models for version in performance.versions]
        self._updated = time.time()

    def describe(self) -> list[Metric]:
        """Return no metrics, so that registering needs no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of every version."""
        about = {
            "outcomes": ("Outcomes that have come back.", _SLICE),
            "performance": ("What predictions were worth, by their outcomes.", [*_SLICE, "figure", "bound"]),
            "validated": ("The same figures of the version's validation.", [*_SLICE, "figure", "bound"]),
            "estimated": (f"The same, {BLIND}.", [*_SLICE, "figure", "bound"]),
            "served": ("Predictions served.", [*_OWN, "label"]),
            "returned": ("The share of predictions whose outcome has come back.", [*_OWN, "label"]),
            "alarm": ("Whether outcomes have raised the alarm, and by which figure.", [*_OWN, "largest"]),
            "alarm_evidence": ("The alarm's evidence; it is raised from the threshold on.", _OWN),
            "alarm_threshold": ("The evidence from which the alarm is raised.", _OWN),
            "alarm_needed": ("Outcomes after which a fall of ROC AUC by .05 is found, with a power of .8.", _OWN),
        }
        gauges = {
            name: GaugeMetricFamily(f"healthrisk_live_{name}", text, labels=labels)
            for name, (text, labels) in about.items()
        }
        for version in self._versions:
            own = [version.model, version.version]
            for one in version.slices:
                if not one.month:
                    _add_slice(gauges, own, one)
            if version.alarm:
                _add_alarm(gauges, own, version.alarm)
        yield from gauges.values()
        if self._updated:
            text = "When these figures were computed, in seconds since 1970."
            yield GaugeMetricFamily("healthrisk_live_updated_seconds", text, self._updated)


def _add_slice(gauges: dict[str, GaugeMetricFamily], own: list[str], one: Slice) -> None:
    labels = [*own, one.label, one.grouping, one.group]
    gauges["outcomes"].add_metric(labels, one.live.rows)
    if one.live.enough:
        _add_figures(gauges["performance"], labels, _figures(one.live))
    if one.validated and one.validated.enough:
        _add_figures(gauges["validated"], labels, _figures(one.validated))
    if one.estimated:
        _add_figures(gauges["estimated"], labels, _estimates(one.estimated))
    if one.served is not None and one.returned is not None:
        gauges["served"].add_metric([*own, one.label], one.served)
        gauges["returned"].add_metric([*own, one.label], one.returned)


def _add_alarm(gauges: dict[str, GaugeMetricFamily], own: list[str], state: AlarmState) -> None:
    gauges["alarm"].add_metric([*own, state.largest if state.raised else ""], float(state.raised is not None))
    gauges["alarm_evidence"].add_metric(own, state.evidence)
    gauges["alarm_threshold"].add_metric(own, state.threshold)
    if state.needed is not None:
        gauges["alarm_needed"].add_metric(own, state.needed)


def _add_figures(gauge: GaugeMetricFamily, labels: list[str], figures: Named) -> None:
    for figure, estimate in figures:
        if estimate:
            for bound, value in (("mean", estimate.mean), ("low", estimate.low), ("high", estimate.high)):
                gauge.add_metric([*labels, figure, bound], value)


def _figures(of: Performance) -> Named:
    yield "ROC AUC", of.roc_auc
    yield "Brier score", of.brier
    if of.calibration:
        yield "calibration slope", of.calibration.calibration_slope
        yield "calibration in the large", of.calibration.in_the_large
    yield from _shares(of.operating)


def _estimates(of: Estimated) -> Named:
    yield "ROC AUC", of.roc_auc
    yield "Brier score", of.brier
    yield from _shares(of.operating)


def _shares(points: Iterable[OperatingPoint]) -> Named:
    for point in points:
        yield f"sensitivity at {point.at:g}", point.sensitivity
        yield f"specificity at {point.at:g}", point.specificity
