"""Served probabilities in the bins of receipts, as Prometheus sees them: what outcomes are a share of."""

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily

from healthrisk.receipts import probability_bins
from healthrisk.spec import DatasetSpec


class BinCounts:
    """Counts of one model's predictions by label of `probability_bins.labels` and bin."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec, self._labels = spec, probability_bins.labels(spec)
        self._counts = np.zeros((len(self._labels), probability_bins.BINS), dtype=np.int64)

    def count(self, probabilities: NDArray[np.float32]) -> None:
        """Count rows by their probabilities [rows, classes]."""
        bins = probability_bins.bins(probability_bins.probabilities(self._spec, probabilities))
        for place in range(len(self._labels)):
            self._counts[place] += np.bincount(bins[:, place], minlength=probability_bins.BINS)

    def family(self, own: list[str]) -> CounterMetricFamily:
        """Return the counts as a metric; `own` are model and version."""
        # A challenger is served under another name than the data set's, which is the one on its receipts.
        labels, own = ["model", "version", "dataset", "label", "bin"], [*own, self._spec.name]
        # Bins that are empty as well: of a counter that appears late Prometheus misses the first increase.
        family = CounterMetricFamily("prediction_bins", "Predictions in bins of a fiftieth.", labels=labels)
        for label, counts in zip(self._labels, self._counts.tolist(), strict=True):
            for place, count in enumerate(counts):
                family.add_metric([*own, label, str(place)], count)
        return family
