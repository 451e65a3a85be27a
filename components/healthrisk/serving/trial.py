"""A silent trial: how another version answers what this one has answered. Its answers go into counts, nowhere else.

The rows are mirrored here, behind the answer: they wait in memory until some have come together, go to the other
version's own predictor in one call, and are compared with what was answered. Where the other version is slow or away
rows are dropped, and counted; nobody waits for it. On one machine it is the champion that compares. On a cluster the
gateway mirrors requests to the challenger, which compares its answers with the champion's; that one is not touched.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from healthrisk.bundle import Bundle
from healthrisk.errors import ConfigError
from healthrisk.inference.scorer import risk_levels
from healthrisk.receipts import probability_bins
from healthrisk.serving.errors import RequestError
from healthrisk.serving.hop import PredictorClient

_DIFFERENCES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# So long rows come together, so that a hundred requests cost one call.
_GATHER_SECONDS = 0.05
_MOST_ROWS = 8192


class Trial(Collector):
    """Mirrors one server's rows to another version's predictor."""

    def __init__(
        self,
        own: Bundle,
        other: Bundle,
        client: PredictorClient,
        *,
        other_is_champion: bool = False,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """Raise ConfigError where the two read other columns or know other classes."""
        for part in ("columns", "target"):
            if getattr(own.spec, part) != getattr(other.spec, part):
                raise ConfigError(
                    f"version {other.version} has another {part} than version {own.version}: "
                    "their answers cannot be compared row by row"
                )
        champion, challenger = (other, own) if other_is_champion else (own, other)
        self._labels = [own.spec.name, champion.version, challenger.version]
        self._spec, self._preprocessor, self._client = own.spec, other.preprocessor, client
        self._waiting: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []
        self._waiting_rows = 0
        self._asking: asyncio.Task[None] | None = None
        self._rows: Counter[str] = Counter()
        self._differences = np.zeros(len(_DIFFERENCES) + 1, dtype=np.int64)
        self._calls = np.zeros(len(_SECONDS) + 1, dtype=np.int64)
        self._largest, self._seconds, self._other_levels = 0.0, 0.0, 0
        registry.register(self)

    def add(self, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]) -> None:
        """Take rows that have been answered: encoded [rows, features], and their probabilities [rows, classes]."""
        if self._waiting_rows + len(matrix) > _MOST_ROWS:
            self._rows["dropped"] += len(matrix)
            return
        self._waiting.append((matrix, probabilities))
        self._waiting_rows += len(matrix)
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER_SECONDS)
                waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
                matrix = np.concatenate([rows for rows, _ in waiting])
                await self._compare(matrix, np.concatenate([given for _, given in waiting]))
        finally:
            self._asking = None

    async def _compare(self, matrix: NDArray[np.float64], given: NDArray[np.float32]) -> None:
        start = time.perf_counter()
        try:
            other = await self._client.probabilities(self._preprocessor.transform(matrix))
        except RequestError:
            self._rows["failed"] += len(matrix)
            return
        seconds = time.perf_counter() - start
        self._seconds += seconds
        self._calls[np.searchsorted(_SECONDS, seconds)] += 1
        self._rows["compared"] += len(matrix)
        chances = [probability_bins.probabilities(self._spec, one)[:, 0] for one in (given, other)]
        differences = np.abs(chances[0] - chances[1])
        self._largest = max(self._largest, float(differences.max()))
        places = np.searchsorted(_DIFFERENCES, differences)
        self._differences += np.bincount(places, minlength=len(self._differences))
        levels = [np.array(risk_levels(self._spec, one)) for one in (given, other)]
        self._other_levels += int((levels[0] != levels[1]).sum())

    def describe(self) -> list[Metric]:
        """Return no metrics, so that registering needs no counts."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the counts."""
        labels = ["model", "champion", "challenger"]
        rows = CounterMetricFamily("trial_rows", "Rows mirrored to the other version.", labels=[*labels, "result"])
        for result in ("compared", "failed", "dropped"):
            rows.add_metric([*self._labels, result], self._rows[result])
        levels = CounterMetricFamily("trial_other_risk_level", "Rows with another risk level.", labels=labels)
        levels.add_metric(self._labels, self._other_levels)
        largest = GaugeMetricFamily("trial_largest_difference", "Of the event's probability.", labels=labels)
        largest.add_metric(self._labels, self._largest)
        differences = HistogramMetricFamily(
            "trial_difference", "Difference of the event's probability, without its sign.", labels=labels
        )
        middles = np.convolve([0, *_DIFFERENCES, 1], [0.5, 0.5], "valid")
        differences.add_metric(
            self._labels, _buckets(_DIFFERENCES, self._differences), sum_value=float(self._differences @ middles)
        )
        calls = HistogramMetricFamily(
            "trial_seconds", "Time of a call of the other version's predictor.", labels=labels
        )
        calls.add_metric(self._labels, _buckets(_SECONDS, self._calls), sum_value=self._seconds)
        yield from (rows, levels, largest, differences, calls)


def _buckets(edges: tuple[float, ...], counts: NDArray[np.int64]) -> list[tuple[str, float]]:
    names = [*map(str, edges), "+Inf"]
    return list(zip(names, np.cumsum(counts).astype(float).tolist(), strict=True))
