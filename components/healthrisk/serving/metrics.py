"""What Prometheus sees of a model server. Names and labels are the platform's contract with its dashboards and alerts.

Distributions of features are counted on the edges of the bundle's reference, so that drift is computed from aggregates
over all replicas. No row is kept: rows wait in memory until the next scrape, or until there are `_PENDING_ROWS`. A sum
is made of the bins' middles: of exact values, the difference of two scrapes would be the value of whoever came between.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from healthrisk.bundle import Bundle
from healthrisk.bundle.reference import CodeCounts, FeatureCounts, NumberCounts, by_class
from healthrisk.serving.bins import BinCounts

_PROTOCOLS = ("v1", "v2", "grpc")
# The first error must be an increase, and Prometheus sees none in the number that a series begins with.
_FROM_THE_START = (200, 400, 500, 503, 504)
# What is promised is answers within 0.2.
_SECONDS = (0.0005, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0)
_PENDING_ROWS = 1024


@dataclass(slots=True)
class Tally:
    """What one model has answered and refused since the server started: requests, seconds, and rows answered."""

    answered: int = 0
    answered_seconds: float = 0.0
    refused: int = 0
    refused_seconds: float = 0.0
    rows: int = 0
    last_answer_ms: int = 0

    def add(self, seconds: float, rows: int) -> None:
        """Count an answer."""
        self.answered += 1
        self.answered_seconds += seconds
        self.rows += rows
        self.last_answer_ms = time.time_ns() // 1_000_000

    def add_refusal(self, seconds: float) -> None:
        """Count an error."""
        self.refused += 1
        self.refused_seconds += seconds


class ServerMetrics:
    """Requests, latency, rejections and the hop to the predictor, for one model and version."""

    def __init__(self, model: str, bundle: Bundle, registry: CollectorRegistry = REGISTRY) -> None:
        self.model, self._version = model, bundle.version
        self.tally = Tally()
        self._requests = Counter(
            "prediction_requests_total",
            "Prediction requests by HTTP status (gRPC statuses by their HTTP equivalent).",
            ["model", "version", "protocol", "code"],
            registry=registry,
        )
        self._latency = Histogram(
            "prediction_latency_seconds",
            "Time from a request's headers to its answer.",
            ["model", "version", "protocol"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "prediction_rejected_total", "Requests without a prediction.", ["model", "reason"], registry=registry
        )
        self.in_flight = Gauge(
            "predictions_in_flight", "Requests being answered.", ["model"], registry=registry
        ).labels(model)
        self.hop_seconds = Histogram(
            "predictor_hop_seconds",
            "Time a request waits for the predictor.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        ).labels(model)
        self._hop_errors = Counter(
            "predictor_hop_errors_total", "Failed calls of the predictor.", ["model", "reason"], registry=registry
        )
        _inform(model, bundle, registry)
        # labels() costs more than the increment, so the children in use are kept.
        self._by_code = {
            (protocol, code): self._of(protocol, code) for protocol in _PROTOCOLS for code in _FROM_THE_START
        }
        self._by_protocol = {protocol: self._latency.labels(model, bundle.version, protocol) for protocol in _PROTOCOLS}

    def answered(self, protocol: str, code: int, seconds: float, rows: int) -> None:
        """Count one request that was answered, with an error or for so many rows."""
        if code == 200:
            self.tally.add(seconds, rows)
        else:
            self.tally.add_refusal(seconds)
        self._count(protocol, code)
        self._by_protocol[protocol].observe(seconds)

    def _count(self, protocol: str, code: int) -> None:
        counter = self._by_code.get((protocol, code))
        if counter is None:
            counter = self._by_code[protocol, code] = self._of(protocol, code)
        counter.inc()

    def _of(self, protocol: str, code: int) -> Any:
        return self._requests.labels(self.model, self._version, protocol, str(code))

    def refused(self, protocol: str, code: int) -> None:
        """Count one request that was refused before the model was asked."""
        self._count(protocol, code)

    def rejected(self, reason: str) -> None:
        """Count one request that got no prediction."""
        self._rejected.labels(self.model, reason).inc()

    def hop_failed(self, reason: str) -> None:
        """Count one failed call of the predictor."""
        self._hop_errors.labels(self.model, reason).inc()


class Distributions(Collector):
    """Counts the values of every feature, the predicted classes and their probabilities."""

    def __init__(self, model: str, bundle: Bundle, registry: CollectorRegistry = REGISTRY) -> None:
        self._labels = [model, bundle.version]
        self._classes = [str(cls.value) for cls in bundle.spec.target.classes]
        self._class_counts = np.zeros(len(self._classes), dtype=np.int64)
        reference = bundle.reference.features
        self._spec = bundle.spec
        self._shares = {
            name: _Feature(name, False, list(known.edges), _limits(known), (0, 1))
            for name, known in bundle.reference.probabilities.items()
        }
        self._bins = BinCounts(bundle.spec)
        self._features = [_Feature.of(column, reference[column.name]) for column in bundle.spec.columns]
        self._pending: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []
        self._pending_rows = 0
        registry.register(self)

    def add(self, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]) -> None:
        """Count rows: an encoded matrix [rows, features] and their probabilities [rows, classes]."""
        self._pending.append((matrix, probabilities))
        self._pending_rows += len(matrix)
        if self._pending_rows >= _PENDING_ROWS:
            self._count()

    def _count(self) -> None:
        if not self._pending:
            return
        matrix = np.concatenate([rows for rows, _ in self._pending])
        probabilities = np.concatenate([scored for _, scored in self._pending])
        self._pending, self._pending_rows = [], 0
        self._class_counts += np.bincount(probabilities.argmax(axis=1), minlength=len(self._classes))
        self._bins.count(probabilities)
        for name, values in by_class(self._spec, probabilities).items():
            self._shares[name].count(values)
        for feature, values in zip(self._features, matrix.T, strict=True):
            feature.count(values)

    def describe(self) -> list[Metric]:
        """Return no metrics, so that registering needs no counts."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the counts of every feature and class."""
        self._count()
        predicted = CounterMetricFamily(
            "predictions_by_class", "Predicted classes.", labels=["model", "version", "class"]
        )
        for name, count in zip(self._classes, self._class_counts.tolist(), strict=True):
            predicted.add_metric([*self._labels, name], count)
        scored = HistogramMetricFamily(
            "prediction_probability", "Probabilities on the reference's edges.", labels=["model", "version", "class"]
        )
        for name, share in self._shares.items():
            scored.add_metric([*self._labels, name], share.buckets(), sum_value=share.total())
        labels = ["model", "version", "feature"]
        values = HistogramMetricFamily("feature_values", "Values on the reference's edges.", labels=labels)
        codes = CounterMetricFamily("feature_codes", "Codes received.", labels=[*labels, "code"])
        missing = CounterMetricFamily("feature_missing", "Values missing.", labels=labels)
        for feature in self._features:
            own = [*self._labels, feature.name]
            missing.add_metric(own, feature.missing)
            if feature.is_code:
                for name, count in zip(feature.names, feature.counts.tolist(), strict=True):
                    codes.add_metric([*own, name], count)
            else:
                values.add_metric(own, feature.buckets(), sum_value=feature.total())
        yield from (predicted, scored, self._bins.family(self._labels), values, codes, missing)


class _Feature:
    """The counts of one feature: of each code, or of each interval (edge before, edge]."""

    def __init__(
        self, name: str, is_code: bool, bounds: list[float], names: list[str], ends: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self.name, self.is_code, self.names = name, is_code, names
        self._bounds = np.array(bounds)
        low, high = ends
        self._middles = np.convolve([low, *bounds, high], [0.5, 0.5], "valid")
        self.counts = np.zeros(len(names), dtype=np.int64)
        self.missing = 0

    @classmethod
    def of(cls, column: Any, reference: FeatureCounts) -> "_Feature":
        """Return the empty counts of a column, on its reference's edges or the spec's codes."""
        if isinstance(reference, CodeCounts):
            ordered = sorted(column.code_values.items(), key=lambda item: item[1])
            return cls(column.name, True, [value for _, value in ordered], [str(code) for code, _ in ordered])
        edges = list(reference.edges)
        # The spec's range closes the outermost bins; where it has none they count as their edge.
        ends = column.range or (edges[0], edges[-1])
        return cls(column.name, False, edges, _limits(reference), ends)

    def count(self, values: NDArray[np.float64]) -> None:
        present = values[~np.isnan(values)]
        self.missing += len(values) - len(present)
        # Side "left" puts a value equal to an edge below it, as Prometheus' `le` does.
        places = np.searchsorted(self._bounds, present, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bin's upper limit and how many values lie up to it."""
        return list(zip(self.names, np.cumsum(self.counts).astype(float).tolist(), strict=True))

    def total(self) -> float:
        """Return the sum of the values, each as the middle of its bin."""
        return float(self.counts @ self._middles)


def _inform(model: str, bundle: Bundle, registry: CollectorRegistry) -> None:
    """Say, as Prometheus has it, what is served: in the labels of a gauge that is always one."""
    info = Gauge(
        "healthrisk_model_info",
        "The model being served.",
        ["model", "version", "digest", "revision"],
        registry=registry,
    )
    info.labels(model, bundle.version, bundle.digest, bundle.manifest.git_revision).set(1)


def _limits(known: NumberCounts) -> list[str]:
    """Return the bins' upper limits as Prometheus writes them."""
    return [*(repr(float(edge)) for edge in known.edges), "+Inf"]
