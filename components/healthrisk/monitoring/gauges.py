"""A comparison as Prometheus' gauges: in a file for a node exporter's textfile collector, or at a push gateway."""

from pathlib import Path
from urllib.error import URLError

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile

from healthrisk.errors import SourceError
from healthrisk.monitoring.drift import DriftReport

TIMEOUT = 30.0


def write(report: DriftReport, model: str, version: str, path: Path) -> None:
    """Write the gauges to a file, which appears whole."""
    write_to_textfile(str(path), _registry(report, model, version))


def push(report: DriftReport, model: str, version: str, gateway: str) -> None:
    """Replace a model's gauges at a push gateway.

    Raises:
        SourceError: it does not take them.
    """
    registry = _registry(report, model, version)
    try:
        push_to_gateway(gateway, "healthrisk-drift", registry, grouping_key={"model": model}, timeout=TIMEOUT)
    except (URLError, OSError, ValueError) as error:
        raise SourceError(f"{gateway} does not take gauges as a push gateway does: {error}") from error


def _registry(report: DriftReport, model: str, version: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    own = ("model", "version")
    distance = Gauge(
        "healthrisk_drift_distance",
        "Distance of a feature's distribution from the reference: 0 same, 1 apart.",
        [*own, "feature", "what"],
        registry=registry,
    )
    for shift in report.shifts:
        distance.labels(model, version, shift.feature, shift.what).set(shift.distance)
    drifting = Gauge("healthrisk_drift_features", "Features that drift.", own, registry=registry)
    drifting.labels(model, version).set(len(report.drifting))
    return registry
