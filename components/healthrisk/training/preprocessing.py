"""Split a table into training and hold-out part, and fit the preprocessor on the training part alone."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec
from healthrisk.training.grouping import Groups, latest

HOLD_OUT = 0.2
# Rows that are transformed at once: what is computed on the way takes several times the room of what comes out.
_ROWS_AT_ONCE = 100_000


def split(
    target: NDArray[np.int64], seed: int, groups: Groups | None = None, times: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """Return a mask [rows], true for the hold-out: a seeded fifth, stratified by class, or with `times` the latest.

    Rows of one of the `groups` stand in one part.

    Raises:
        TrainingError: a class has too few rows to stand in both parts.
    """
    counts = np.bincount(target)
    if (counts > 0).sum() < 2:
        raise TrainingError(f"only one class occurs in {len(target)} rows: a model needs at least two")
    if times is not None:
        mask = latest(times, groups, HOLD_OUT)
        return _both_have_all(target, mask, "by time")
    if groups is not None:
        folds = StratifiedGroupKFold(round(1 / HOLD_OUT), shuffle=True, random_state=seed)
        mask = np.zeros(len(target), dtype=bool)
        mask[next(folds.split(target, target, groups))[1]] = True
        return _both_have_all(target, mask, "by group")
    try:
        _, held_out = train_test_split(np.arange(len(target)), test_size=HOLD_OUT, stratify=target, random_state=seed)
    except ValueError as error:
        raise TrainingError(f"{len(target)} rows cannot be split 80/20 by class: {error}") from error
    mask = np.zeros(len(target), dtype=bool)
    mask[held_out] = True
    return mask


def _both_have_all(target: NDArray[np.int64], held_out: NDArray[np.bool_], how: str) -> NDArray[np.bool_]:
    for name, part in (("training part", target[~held_out]), ("hold-out", target[held_out])):
        if absent := sorted(set(target.tolist()) - set(part.tolist())):
            raise TrainingError(f"split {how}: the {name} has no row of class {absent[0]} (counted from 0)")
    return held_out


def make_preprocessor(spec: DatasetSpec) -> ColumnTransformer:
    """Return scikit-learn's preprocessing of an encoded matrix: the reference form.

    Codes come from the spec, not from the rows seen; a two-code column gives one output.
    """
    numbers, codes = _positions(spec)
    levels = [list(spec.columns[i].code_values.values()) for i in codes]
    one_hot = make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(categories=levels, drop="if_binary", handle_unknown="ignore", sparse_output=False),
    )
    return ColumnTransformer([("numbers", _make_scaled(), numbers), ("codes", one_hot, codes)])


def _positions(spec: DatasetSpec) -> tuple[list[int], list[int]]:
    """Return the places of the columns of numbers, and of those of codes."""
    places = range(len(spec.columns))
    numbers = [i for i in places if spec.columns[i].kind != "code"]
    return numbers, [i for i in places if spec.columns[i].kind == "code"]


def _make_scaled() -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())


def extract(spec: DatasetSpec, fitted: ColumnTransformer) -> Preprocessor:
    """Return the serving form of a fitted `make_preprocessor(spec)`."""
    (_, scaled, _), (_, one_hot, codes) = fitted.transformers_
    return _serving_form(spec, scaled, one_hot[0].statistics_ if codes else np.zeros(0))


def learn(spec: DatasetSpec, matrix: NDArray[np.float64]) -> Preprocessor:
    """Return the serving form alone, as `fit` does to the last digit, in a sixth of the time.

    A run fits it some hundred times, on few rows, where most of scikit-learn's time goes into checks and encoding.
    """
    numbers, codes = _positions(spec)
    scaled = _make_scaled()
    if numbers:
        scaled.fit(matrix[:, numbers])
    return _serving_form(spec, scaled, np.array([_most_frequent(matrix[:, i]) for i in codes]))


def _most_frequent(values: NDArray[np.float64]) -> float:
    """Return the commonest value that is known, of several the least; 0 where none is known."""
    known, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return float(known[counts.argmax()]) if len(known) else 0.0


def _serving_form(spec: DatasetSpec, scaled: Pipeline, commonest: NDArray[np.float64]) -> Preprocessor:
    """Return what is served: `scaled` is fitted on the numbers, if there are any; `commonest` are the codes' values."""
    numbers, codes = _positions(spec)
    fill = np.zeros(len(spec.columns))
    outputs: list[str] = []
    positions: list[int] = []
    levels: list[float] = []
    mean, scale = np.zeros(0), np.zeros(0)
    if numbers:
        fill[numbers] = scaled[0].statistics_
        mean, scale = scaled[1].mean_, scaled[1].scale_
        outputs += [spec.features[i] for i in numbers]
    fill[codes] = commonest
    for i in codes:
        listed = list(spec.columns[i].code_values.items())
        for code, level in listed[1:] if len(listed) == 2 else listed:
            outputs.append(f"{spec.features[i]}={code}")
            positions.append(i)
            levels.append(level)
    return Preprocessor(
        features=spec.features,
        outputs=tuple(outputs),
        fill=fill,
        numbers=np.asarray(numbers, dtype=np.intp),
        mean=mean,
        scale=scale,
        codes=np.asarray(positions, dtype=np.intp),
        levels=np.asarray(levels, dtype=np.float64),
    )


def fit(spec: DatasetSpec, matrix: NDArray[np.float64]) -> tuple[ColumnTransformer, Preprocessor]:
    """Fit on an encoded matrix [rows, features]; return scikit-learn's form and the serving form of it."""
    fitted = make_preprocessor(spec).fit(matrix)
    return fitted, extract(spec, fitted)


def model_inputs(
    preprocessor: Preprocessor, matrix: NDArray[np.float64], kind: type[np.floating[Any]] = np.float64
) -> NDArray[np.floating[Any]]:
    """Return the model's input [rows, outputs]: the served float32 values, by default widened for solvers.

    Beside the encoded matrix [rows, features] and what is returned it takes little memory.
    """
    inputs = np.empty((len(matrix), len(preprocessor.outputs)), dtype=kind)
    for begin in range(0, len(matrix), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        inputs[rows] = preprocessor.transform(matrix[rows])
    return inputs


class ServedPreprocessing(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The serving form as a scikit-learn step, so that cross-validation fits it anew in every fold.

    It lives in memory only; what is written to disk is scikit-learn's own form and the JSON.
    """

    def __init__(self, spec: DatasetSpec) -> None:
        self.spec = spec

    def fit(self, matrix: NDArray[np.float64], y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Fit on an encoded matrix [rows, features]."""
        self.preprocessor_ = learn(self.spec, matrix)
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.floating[Any]]:
        """Return the model's input [rows, outputs], as `model_inputs` does."""
        return model_inputs(self.preprocessor_, matrix)
