"""Repeated stratified cross-validation: every fold's scores, out-of-fold probabilities, and intervals."""

from collections.abc import Iterator, Sequence
from itertools import islice

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold

from healthrisk.spec import DatasetSpec
from healthrisk.spec.metric import SCORES
from healthrisk.training import metrics
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import resampled
from healthrisk.training.record import CrossValidation

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


def splits(
    spec: DatasetSpec, y: NDArray[np.int64], seed: int, repeats: int | None = None, groups: Groups | None = None
) -> list[Split]:
    """Return the spec's repeated stratified folds, as rows to fit on and rows held out.

    Rows of one of the `groups` are never on both sides.
    """
    every = each_repeat(spec, y, seed, repeats or spec.selection.repeats, groups)
    return [fold for folds in every for fold in folds]


def each_repeat(
    spec: DatasetSpec, y: NDArray[np.int64], seed: int, repeats: int, groups: Groups | None
) -> Iterator[list[Split]]:
    """Yield the folds of one repeat after the other, each made when asked for: with many groups that takes time."""
    rows, count = np.zeros((len(y), 1)), spec.selection.folds
    if groups is None:
        folds = RepeatedStratifiedKFold(n_splits=count, n_repeats=repeats, random_state=seed).split(rows, y)
        for _ in range(repeats):
            yield list(islice(folds, count))
        return
    for repeat in range(repeats):
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=seed * 1000 + repeat)
        yield list(grouped.split(rows, y, groups))


def cross_validate(
    spec: DatasetSpec,
    model: BaseEstimator,
    matrix: NDArray[np.float64],
    y: NDArray[np.int64],
    folds: Sequence[Split],
    groups: Groups | None = None,
) -> tuple[list[dict[str, float]], NDArray[np.float64]]:
    """Return every fold's scores and the out-of-fold probabilities [rows, classes] of the first repeat.

    A mean over repeats would be an ensemble's, whose probabilities lie closer to the middle than any model's that is
    shipped. Folds are fitted side by side as `parallel` says; a model that has folds of its own is told the `groups`.
    """
    answers = joblib.Parallel()(joblib.delayed(_out_of_fold)(model, matrix, y, groups, fold) for fold in folds)
    pooled = np.zeros((len(y), len(spec.target.classes)))
    for (_, held_out), answer in zip(folds[: spec.selection.folds], answers, strict=False):
        pooled[held_out] = answer
    scores = [metrics.score_all(y[held_out], answer) for (_, held_out), answer in zip(folds, answers, strict=True)]
    return scores, pooled


def _out_of_fold(
    model: BaseEstimator, matrix: NDArray[np.float64], y: NDArray[np.int64], groups: Groups | None, fold: Split
) -> NDArray[np.float64]:
    fit_on, held_out = fold
    known = {} if groups is None else {"together": groups[fit_on]}
    fitted = clone(model).fit(matrix[fit_on], y[fit_on], **known)
    result: NDArray[np.float64] = fitted.predict_proba(matrix[held_out])
    return result


def validate(
    spec: DatasetSpec,
    model: BaseEstimator,
    matrix: NDArray[np.float64],
    y: NDArray[np.int64],
    seed: int,
    groups: Groups | None = None,
) -> tuple[list[dict[str, float]], NDArray[np.float64]]:
    """Return what `cross_validate` does, over the spec's repeats; in a large table over as many as narrow the interval.

    When to stop depends on the interval's width alone, not on where it lies, so that no figure is favoured.
    """
    if len(y) <= spec.scale.whole_rows:
        return cross_validate(spec, model, matrix, y, splits(spec, y, seed, groups=groups), groups)
    repeats = each_repeat(spec, y, seed, spec.selection.repeats, groups)
    scores, pooled = cross_validate(spec, model, matrix, y, next(repeats), groups)
    while not _is_narrow(spec, y, scores) and (folds := next(repeats, None)):
        scores += cross_validate(spec, model, matrix, y, folds, groups)[0]
    return scores, pooled


def _is_narrow(spec: DatasetSpec, y: NDArray[np.int64], scores: Sequence[dict[str, float]]) -> bool:
    metric = spec.selection.metric
    interval = summarize(spec, scores).intervals[metric.name]
    frequencies = np.bincount(y, minlength=len(spec.target.classes)) / len(y)
    nothing = metrics.score(metric, y, np.tile(frequencies, (len(y), 1)))
    all_known = metric.range[0] if metric.better == "lower" else metric.range[1]
    return interval.high - interval.low <= spec.scale.score_width * abs(all_known - nothing)


def summarize(spec: DatasetSpec, folds: Sequence[dict[str, float]]) -> CrossValidation:
    """Return scores of repeated cross-validation by metric, with their corrected resampled t intervals."""
    columns = {metric: np.array([fold[metric.name] for fold in folds]) for metric in SCORES}
    count = spec.selection.folds
    return CrossValidation(
        folds=count,
        repeats=len(folds) // count,
        scores={metric.name: tuple(values.tolist()) for metric, values in columns.items()},
        intervals={metric.name: resampled(values, count, metric.range) for metric, values in columns.items()},
    )
