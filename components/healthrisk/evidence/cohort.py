"""Who the patients are, as a paper's first table has it: every predictor, by outcome."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from healthrisk.evidence.documents import CodeCount, Cohort, CohortLine, Predictor, Quartiles
from healthrisk.evidence.event import Event
from healthrisk.spec import Column, DatasetSpec
from healthrisk.training.sampling import Part


def describe(spec: DatasetSpec, matrix: NDArray[np.float64], event: Event) -> Cohort:
    """Return the sizes of the two sides, without and with the event, and for each predictor lines for both.

    A number's line holds median and quartiles, a code's has a line for each meaning, with count and share; shares and
    quartiles are of the rows in which the value is known. `matrix` [rows, features] is encoded.
    """
    without, affected = matrix[~event.happened], matrix[event.happened]
    return Cohort(
        rows=(len(without), len(affected)),
        predictors=tuple(
            _predictor(column, without[:, place], affected[:, place]) for place, column in enumerate(spec.columns)
        ),
    )


def figures(spec: DatasetSpec, matrix: NDArray[np.float64]) -> tuple[Quartiles | CodeCount | None, ...]:
    """Return what an encoded matrix's rows are like: a figure for each line that `describe` gives, in its order."""
    described: list[Quartiles | CodeCount | None] = []
    for place, column in enumerate(spec.columns):
        known = matrix[~np.isnan(matrix[:, place]), place]
        codes = column.code_values.values()
        described += [_count(known, value) for value in codes] if column.kind == "code" else [_quartiles(known)]
    return tuple(described)


def repeated(train: Part, test: Part) -> int:
    """Return how many rows of the hold-out are a training row in all values and outcome (by 64-bit hashes)."""
    known, asked = (
        pd.util.hash_pandas_object(pd.DataFrame(part[0]).assign(y=part[1]), index=False) for part in (train, test)
    )
    return int(np.isin(asked, known).sum())


def _predictor(column: Column, without: NDArray[np.float64], affected: NDArray[np.float64]) -> Predictor:
    missing = int(np.isnan(without).sum()), int(np.isnan(affected).sum())
    known = without[~np.isnan(without)], affected[~np.isnan(affected)]
    if column.kind == "code":
        lines = [
            CohortLine(name=meaning, sides=(_count(known[0], value), _count(known[1], value)))
            for (_, meaning), value in zip(column.codes, column.code_values.values(), strict=True)
        ]
    else:
        lines = [CohortLine(name="", sides=(_quartiles(known[0]), _quartiles(known[1])))]
    return Predictor(label=column.label, unit=column.unit, missing=missing, lines=tuple(lines))


def _quartiles(known: NDArray[np.float64]) -> Quartiles | None:
    if not len(known):
        return None
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    return Quartiles(median=median, low=low, high=high)


def _count(known: NDArray[np.float64], value: float) -> CodeCount | None:
    if not len(known):
        return None
    count = int((known == value).sum())
    return CodeCount(count=count, share=count / len(known))
