"""What a table holds, gathered in bounded memory: counts, distributions, duplicates, associations.

Profiles of a table's parts merge into that of the whole: the same to the last digit, whatever the parts.
"""

import operator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from healthrisk.data import association, encoding
from healthrisk.data.association import Associations
from healthrisk.data.exact_sum import LARGEST, exact_sum, rounded
from healthrisk.data.repeated_rows import RepeatedRows
from healthrisk.documents import Document
from healthrisk.spec import Column, DatasetSpec

# Of the spec's range of a number; fine enough for a plot, and known before the first row is read.
BINS = 60


class Statistics(Document):
    """The least, the mean and the greatest of a number's values."""

    min: float
    mean: float
    max: float


class ColumnSummary(Document):
    """A column's values, counted: by code [codes], or between the edges [edges - 1] of the spec's range."""

    label: str
    unit: str
    missing: int
    counts: tuple[int, ...]
    codes: tuple[int | str, ...] = ()
    edges: tuple[float, ...] = ()
    statistics: Statistics | None = None


class Profile:
    """Sums over the batches given to `add` and `merge`, in the order of the table, and what follows from them."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self.rows = 0
        self.classes = np.zeros(len(spec.target.classes), dtype=np.int64)
        self.present = dict.fromkeys(spec.features, 0)
        self._bounds = dict.fromkeys(spec.features, (np.inf, -np.inf))
        self._sums = dict.fromkeys(spec.features, 0)
        self._counts = {column.name: np.zeros(_size(column), dtype=np.int64) for column in spec.columns}
        self._moments = {column.name: [0] * 6 for column in spec.columns if column.risk_direction}
        self.repeated = RepeatedRows()
        self._sample: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
        self._codes: dict[str, set[float]] = {
            name: set() for foreign in spec.foreign_encodings for name in foreign.columns
        }

    def add(self, batch: pa.RecordBatch, frame: pd.DataFrame) -> None:
        """Take a batch, given also as a data frame."""
        matrix, y = encoding.encode(self._spec, batch), encoding.encode_target(self._spec, batch)
        if (room := association.ROWS - self.rows) > 0:
            self._sample.append((matrix[:room].copy(), y[:room]))
        self.rows += len(y)
        self.classes += np.bincount(y[y >= 0], minlength=len(self.classes))
        self.repeated.add(np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64))
        for position, column in enumerate(self._spec.columns):
            # An infinite value breaks the schema; it must not break the sums as well.
            seen = np.abs(matrix[:, position]) < LARGEST
            values, outcome = matrix[seen, position], y[seen]
            self.present[column.name] += len(values)
            if column.name in self._codes:
                self._codes[column.name] |= set(np.unique(values).tolist())
            if len(values):
                low, high = self._bounds[column.name]
                self._bounds[column.name] = min(low, values.min()), max(high, values.max())
                self._sums[column.name] += exact_sum(values)
                self._counts[column.name] += _count(column, values)
            if column.risk_direction:
                known = outcome >= 0
                moments = _moments(values[known], outcome[known].astype(np.float64))
                self._moments[column.name] = [*map(operator.add, self._moments[column.name], moments)]

    def merge(self, other: "Profile") -> None:
        """Take the profile of the rows that follow."""
        if (room := association.ROWS - self.rows) > 0:
            matrix, y = other._first_rows()
            self._sample.append((matrix[:room], y[:room]))
        self.rows += other.rows
        self.classes += other.classes
        self.repeated.merge(other.repeated)
        for name in self._spec.features:
            self.present[name] += other.present[name]
            (low, high), (least, most) = self._bounds[name], other._bounds[name]
            self._bounds[name] = min(low, least), max(high, most)
            self._sums[name] += other._sums[name]
            self._counts[name] += other._counts[name]
        for name, moments in other._moments.items():
            self._moments[name] = [*map(operator.add, self._moments[name], moments)]
        for name, codes in other._codes.items():
            self._codes[name] |= codes

    @property
    def associations(self) -> Associations:
        """How the columns and the outcome go together, in the first rows of the table."""
        matrix, y = self._first_rows()
        finite = np.where(np.isfinite(matrix), matrix, np.nan)
        return association.measure(self._spec, finite[y >= 0], y[y >= 0])

    def _first_rows(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        nothing = np.empty((0, len(self._spec.columns))), np.empty(0, np.int64)
        matrices, outcomes = zip(nothing, *self._sample, strict=True)
        return np.vstack(matrices), np.concatenate(outcomes)

    def codes(self, name: str) -> set[float]:
        """The values met in a column that some foreign encoding names."""
        return self._codes[name]

    def is_constant(self, name: str) -> bool:
        """True if a column holds one value only."""
        low, high = self._bounds[name]
        return low == high

    def association(self) -> float | None:
        """The mean, over the columns with a known direction of risk, of Fisher's z of their correlation with the class.

        Positive if risk runs as the spec says. Its standard deviation under no association is 1 at most, whatever the
        correlation between the columns, so a value below -2 is rare by chance in tables of any size. None where the
        classes have no order, or no column says anything.
        """
        if not (self._spec.is_binary or self._spec.target.ordered):
            return None
        scores = []
        for name, moments in self._moments.items():
            n, x, y, xx, yy, xy = map(rounded, moments)
            spread = (n * xx - x * x) * (n * yy - y * y)
            if n > 3 and spread > 0:
                correlation = np.clip((n * xy - x * y) / np.sqrt(spread), -0.999, 0.999)
                sign = 1 if self._spec.by_name[name].risk_direction == "rises" else -1
                scores.append(sign * np.arctanh(correlation) * np.sqrt(n - 3))
        return float(np.mean(scores)) if scores else None

    def column(self, name: str) -> ColumnSummary:
        """Summarise a column: missing values, and counts by bin or by code."""
        column, present = self._spec.by_name[name], self.present[name]
        counts = tuple(self._counts[name].tolist())
        about = {"label": column.label, "unit": column.unit}
        if column.range is None:
            codes = tuple(column.meanings)
            return ColumnSummary(**about, missing=self.rows - present, counts=counts, codes=codes)
        bins, ends = _bins(column)
        edges = tuple(np.linspace(*ends, bins + 1).tolist())
        low, high = map(float, self._bounds[name])
        statistics = Statistics(min=low, mean=rounded(self._sums[name], present), max=high) if present else None
        return ColumnSummary(**about, missing=self.rows - present, counts=counts, edges=edges, statistics=statistics)


def _size(column: Column) -> int:
    return _bins(column)[0] if column.range else len(column.codes)


def _bins(column: Column) -> tuple[int, tuple[float, float]]:
    """Return a number's bins and the ends of the first and last; few whole numbers have a bin each."""
    low, high = column.range or (0.0, 0.0)
    if column.kind == "integer" and high - low < BINS:
        return int(high - low) + 1, (low - 0.5, high + 0.5)
    return BINS, (low, high)


def _count(column: Column, values: NDArray[np.float64]) -> NDArray[np.int64]:
    if column.range:
        counts: NDArray[np.int64] = np.histogram(values, *_bins(column))[0]
        return counts
    return np.array([(values == code).sum() for code in column.code_values.values()], dtype=np.int64)


def _moments(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[int]:
    return [exact_sum(values) for values in (np.ones(len(x)), x, y, x * x, y * y, x * y)] if len(x) else [0] * 6
