"""Whether another way with missing values would change the model: a sensitivity analysis.

The served way, medians and commonest codes, stands beside the same with indicators of what was missing, and multiple
imputation by chained equations (van Buuren 2018), whose predictions are averaged over imputations. All go through the
same folds with the winner's parameters, so each change is paired.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - what IterativeImputer asks for
from sklearn.impute import IterativeImputer, MissingIndicator
from sklearn.pipeline import Pipeline, make_union

from healthrisk.evidence import robustness
from healthrisk.evidence.documents import ImputationFigures
from healthrisk.spec import DatasetSpec, Family
from healthrisk.training import cross_validation, estimators, preprocessing
from healthrisk.training.grouping import Groups
from healthrisk.training.record import Parameters

IMPUTATIONS = 5
ROUNDS = 5
Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


class MultiplyImputed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model fitted on several imputations of an encoded matrix; its probabilities are their mean."""

    def __init__(self, spec: DatasetSpec, model: Pipeline, seed: int) -> None:
        self.spec, self.model, self.seed = spec, model, seed

    def fit(self, matrix: Matrix, y: Labels, together: Groups | None = None) -> Self:
        """Fit an imputer and a model for each imputation."""
        bounds = [
            column.range or (min(column.code_values.values()), max(column.code_values.values()))
            for column in self.spec.columns
        ]
        low, high = np.array(bounds).T
        self.fitted_ = []
        for number in range(IMPUTATIONS):
            imputer = IterativeImputer(
                sample_posterior=True,
                max_iter=ROUNDS,
                min_value=low,
                max_value=high,
                random_state=self.seed + number,
                keep_empty_features=True,
                tol=1.0,
            )
            filled = self._rounded(imputer.fit_transform(matrix))
            self.fitted_.append((imputer, clone(self.model).fit(filled, y, together)))
        return self

    def predict_proba(self, matrix: Matrix) -> Matrix:
        """Return probabilities [rows, classes]."""
        answers = [model.predict_proba(self._rounded(imputer.transform(matrix))) for imputer, model in self.fitted_]
        return np.asarray(np.mean(answers, axis=0))

    def _rounded(self, matrix: Matrix) -> Matrix:
        """Return a matrix whose codes are codes: the nearest there is."""
        for place, column in enumerate(self.spec.columns):
            if column.kind == "code":
                known = np.array(sorted(column.code_values.values()))
                matrix[:, place] = known[np.abs(matrix[:, place, None] - known).argmin(axis=1)]
        return matrix


def compare(
    spec: DatasetSpec,
    family: Family,
    parameters: Parameters,
    part: tuple[Matrix, Labels],
    seed: int,
    repeats: int,
    groups: Groups | None = None,
) -> tuple[ImputationFigures, ...]:
    """Return scores and their changes, the served way first; nothing where no value is missing."""
    matrix, y = part
    if not np.isnan(matrix).any():
        return ()
    served = estimators.make_model(spec, family, seed, parameters)
    union = make_union(preprocessing.make_preprocessor(spec), MissingIndicator(features="all"))
    ways = {
        "median and commonest code, as served": served,
        "the same with indicators of what was missing": estimators.Model(
            [("preprocess", union), ("classifier", clone(served["classifier"]))]
        ),
        f"multiple imputation, {IMPUTATIONS} times": MultiplyImputed(spec, served, seed),
    }
    folds = cross_validation.splits(spec, y, seed + 1, repeats, groups)
    compared: list[ImputationFigures] = []
    untouched: list[dict[str, float]] = []
    with estimators.parallel(family, matrix):
        for how, model in ways.items():
            scores, _ = cross_validation.cross_validate(spec, model, matrix, y, folds, groups)
            untouched = untouched or scores
            compared.append(ImputationFigures(how=how, effects=robustness.effects(spec, scores, untouched)))
    return tuple(compared)
