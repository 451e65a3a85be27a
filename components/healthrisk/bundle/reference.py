"""A bundle's reference: how features, predicted probabilities and classes were distributed in a model's own rows.

Numbers are counted in bins: up to each edge, itself included, and beyond the last. The same form describes any other
rows, a file's or those that servers have counted, so that two can be compared without a row of either.
"""

import operator
from collections import Counter
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from healthrisk.documents import Document
from healthrisk.spec import Column, DatasetSpec

# Twenty equally filled bins describe a distribution well enough for drift tests, and cost a server 20 counters.
QUANTILES = np.linspace(0.05, 0.95, 19)


class NumberCounts(Document):
    """A number's counts [edges + 1]: up to each of `edges`, itself included, and beyond the last."""

    kind: Literal["number"] = "number"
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int


class CodeCounts(Document):
    """A code's counts [codes], in the order of `codes`."""

    kind: Literal["code"] = "code"
    codes: tuple[int | str, ...]
    counts: tuple[int, ...]
    missing: int


FeatureCounts = NumberCounts | CodeCounts


class ClassCounts(Document):
    """How often each class was predicted, by its value."""

    classes: tuple[int | str, ...]
    counts: tuple[int, ...]


class ValidatedBins(Document):
    """How outcomes went with probabilities in rows that the model had not seen, of everybody or of one group.

    `events` and `others` [bins] count the rows in which what `label` names came true, and the others, by the bin of its
    probability; `means` [bins] are the mean probabilities in each bin, and its middle where it has no row. Of pairs of
    an event and another in one bin the event has the higher probability in the share `ordered` [bins]. `event_logits`
    and `other_logits` [2, bins] are the mean of their log-odds and its standard deviation. Older bundles have none of
    these three.
    """

    # Those in between have fields that these replace.
    model_config = ConfigDict(extra="ignore")

    grouping: str
    group: str
    label: str
    events: tuple[int, ...]
    others: tuple[int, ...]
    means: tuple[float, ...]
    ordered: tuple[float, ...] = ()
    event_logits: tuple[tuple[float, ...], ...] = ()
    other_logits: tuple[tuple[float, ...], ...] = ()


class Reference(Document):
    """How `rows` rows were distributed: features by name, the predicted classes, and each class's probability.

    Of two classes only the event's probability is counted: the other's mirrors it. A class that is never the likeliest
    still has probabilities, and they move when it becomes commoner. `refused` are rows that the spec does not allow, by
    reason: a row may have several. They are not among `rows`. `validated` is what live performance stands beside; older
    bundles have none.
    """

    rows: int
    features: dict[str, Annotated[FeatureCounts, Field(discriminator="kind")]]
    predictions: ClassCounts
    probabilities: dict[str, NumberCounts]
    refused_rows: int = 0
    refused: dict[str, int] = Field(default_factory=dict)
    validated: tuple[ValidatedBins, ...] = ()


def describe(spec: DatasetSpec, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]) -> Reference:
    """Return the reference of an encoded matrix [rows, features] and its probabilities [rows, classes]."""
    edges = {
        column.name: _edges(values)
        for column, values in zip(spec.columns, matrix.T, strict=True)
        if column.kind != "code"
    }
    shares = {name: _edges(values) for name, values in by_class(spec, probabilities).items()}
    return _count_all(spec, edges, shares, matrix, probabilities)


def by_class(spec: DatasetSpec, probabilities: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities [rows] that are counted, by the class's value, out of those of all [rows, classes]."""
    places = [1] if spec.is_binary else range(len(spec.target.classes))
    return {str(spec.target.classes[k].value): probabilities[:, k].astype(np.float64) for k in places}


def recount(
    spec: DatasetSpec, reference: Reference, matrix: NDArray[np.float64], probabilities: NDArray[np.float32]
) -> Reference:
    """Return what `describe` would, on another reference's edges."""
    edges = {
        name: np.asarray(known.edges) for name, known in reference.features.items() if isinstance(known, NumberCounts)
    }
    shares = {name: np.asarray(known.edges) for name, known in reference.probabilities.items()}
    return _count_all(spec, edges, shares, matrix, probabilities)


def add(one: Reference, other: Reference) -> Reference:
    """Return the counts of two tables' rows together, on the edges that both have."""
    features = {name: each.model_copy(update=_sums(each, other.features[name])) for name, each in one.features.items()}
    shares = one.probabilities.items()
    return Reference(
        rows=one.rows + other.rows,
        features=features,
        predictions=one.predictions.model_copy(update=_sums(one.predictions, other.predictions)),
        probabilities={name: each.model_copy(update=_sums(each, other.probabilities[name])) for name, each in shares},
        refused_rows=one.refused_rows + other.refused_rows,
        refused=dict(Counter(one.refused) + Counter(other.refused)),
    )


def _sums(one: FeatureCounts | ClassCounts, other: FeatureCounts | ClassCounts) -> dict[str, Any]:
    """Return what changes in counts of one kind where others are added."""
    sums: dict[str, Any] = {"counts": tuple(map(operator.add, one.counts, other.counts))}
    if not isinstance(one, ClassCounts) and not isinstance(other, ClassCounts):
        sums["missing"] = one.missing + other.missing
    return sums


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, QUANTILES)) if len(known) else np.array([0.0])


def _count_all(
    spec: DatasetSpec,
    edges: dict[str, NDArray[np.float64]],
    shares: dict[str, NDArray[np.float64]],
    matrix: NDArray[np.float64],
    probabilities: NDArray[np.float32],
) -> Reference:
    predicted = np.bincount(probabilities.argmax(axis=1), minlength=len(spec.target.classes)).tolist()
    return Reference(
        rows=len(matrix),
        features={
            column.name: _count(column, edges.get(column.name), values)
            for column, values in zip(spec.columns, matrix.T, strict=True)
        },
        predictions=ClassCounts(classes=tuple(cls.value for cls in spec.target.classes), counts=tuple(predicted)),
        probabilities={
            name: _count_number(shares[name], values) for name, values in by_class(spec, probabilities).items()
        },
    )


def _count(column: Column, edges: NDArray[np.float64] | None, values: NDArray[np.float64]) -> FeatureCounts:
    if edges is None:
        counts = tuple(int((values == level).sum()) for level in column.code_values.values())
        return CodeCounts(codes=tuple(column.code_values), counts=counts, missing=int(np.isnan(values).sum()))
    return _count_number(edges, values)


def _count_number(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NumberCounts:
    known = values[~np.isnan(values)]
    places = np.searchsorted(edges, known, side="left")
    counts = tuple(np.bincount(places, minlength=len(edges) + 1).tolist())
    return NumberCounts(edges=tuple(edges.tolist()), counts=counts, missing=len(values) - len(known))
