"""The patients that an explanation compares with: drawn from the bundle's marginal distributions, nobody in particular.

A bundle travels further than a patient's data may, so it holds no patients to compare with. Each variable is drawn
from its own distribution in reference.json, independently of the others, at evenly spaced quantiles: a few dozen rows
have the cohort's marginals almost exactly. Source: Strumbelj and Kononenko, Knowl Inf Syst 41, 2014, section 3.
"""

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle.reference import CodeCounts, FeatureCounts, Reference
from healthrisk.spec import Column, DatasetSpec


def draw(spec: DatasetSpec, reference: Reference, rows: int, seed: int) -> NDArray[np.float64]:
    """Return an encoded matrix [rows, features]; the same reference and seed give the same rows."""
    rng = np.random.default_rng(seed)
    levels = (np.arange(rows) + 0.5) / rows
    columns = [_quantiles(column, reference.features[column.name], levels) for column in spec.columns]
    return np.column_stack([values[rng.permutation(rows)] for values in columns])


def _quantiles(column: Column, known: FeatureCounts, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the column's values at these levels of its distribution, the missing share at the end as NaN."""
    counts = np.array([*known.counts, known.missing], dtype=np.float64)
    cumulated = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    bins = np.clip(np.searchsorted(cumulated, levels, side="right") - 1, 0, len(counts) - 1)
    if isinstance(known, CodeCounts):
        values = np.array([*(column.code_values[code] for code in known.codes), np.nan])
        return np.asarray(values[bins])
    edges = np.asarray(known.edges)
    # Of the two outer bins only the inner edge is known: their values stand there.
    low, high = np.array([edges[0], *edges, np.nan]), np.array([*edges, edges[-1], np.nan])
    share = (levels - cumulated[bins]) / (cumulated[bins + 1] - cumulated[bins])
    values = low[bins] + share * (high[bins] - low[bins])
    # A bin is (low, high], so the whole numbers in it are found by rounding up.
    return np.asarray(np.ceil(values) if column.kind == "integer" else values)
