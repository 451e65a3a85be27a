"""Permutation importance: how much worse a model does when one feature's values are shuffled among the rows.

Source: Breiman, Machine Learning 45, 2001. The shuffles, and so the numbers, are those of scikit-learn's function of
this name, which asks the model anew for every shuffle: of a forest that is a thousand small questions, each of which
costs more than its answer. Here each feature's shuffles are one.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from healthrisk.spec import Metric
from healthrisk.training import metrics

# An encoded matrix [rows, features] to probabilities [rows, classes].
Predict = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def permutation_losses(
    predict: Predict, metric: Metric, matrix: NDArray[np.float64], y: NDArray[np.int64], repeats: int, seed: int
) -> NDArray[np.float64]:
    """Return by how much a metric is worse [features, repeats] with a feature shuffled, for class positions [rows]."""
    untouched = metric.sign * metrics.score(metric, y, predict(matrix))
    orders = _orders(len(y), repeats, seed)
    losses = np.empty((matrix.shape[1], repeats))
    for place in range(matrix.shape[1]):
        shuffled = np.tile(matrix, (repeats, 1))
        shuffled[:, place] = matrix[orders.ravel(), place]
        for repeat, p in enumerate(np.split(predict(shuffled), repeats)):
            losses[place, repeat] = untouched - metric.sign * metrics.score(metric, y, p)
    return losses


def _orders(rows: int, repeats: int, seed: int) -> NDArray[np.intp]:
    """Return scikit-learn's shuffles [repeats, rows]: the same for every feature, each of what the one before left."""
    rng = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    order, shuffled, orders = np.arange(rows), np.arange(rows), np.empty((repeats, rows), dtype=np.intp)
    for repeat in range(repeats):
        rng.shuffle(order)
        shuffled = orders[repeat] = shuffled[order]
    return orders
