"""The search of a family's hyper-parameters by cross-validation: of every candidate, in a large table by halving.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) judges all candidates on a sample, the best third of them on
three times as many rows, and so on. What it can lose is a candidate that is good on many rows only.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from healthrisk.spec import DatasetSpec, Family
from healthrisk.spec.metric import Metric
from healthrisk.training import metrics, sampling, threads
from healthrisk.training.estimators import limits, make_model, search_rows
from healthrisk.training.grouping import Groups
from healthrisk.training.record import Candidate, Parameters, Rung, SearchRecord

# Searched where a spec has no `search` of its own for the family. Small grids: with a few hundred patients a wider
# search mostly finds noise.
DEFAULT_SEARCH: dict[Family, dict[str, list[Any]]] = {
    "logistic_regression": {"C": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    "random_forest": {"min_samples_leaf": [1, 3, 6], "max_features": ["sqrt", 0.5]},
    "gradient_boosting": {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 8], "l2_regularization": [0.0, 1.0]},
}


class Search(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A search of one family's hyper-parameters; fitted, it knows the best and, with `refit`, is a model of them."""

    def __init__(self, spec: DatasetSpec, family: Family, seed: int, refit: bool = False) -> None:
        self.spec, self.family, self.seed, self.refit = spec, family, seed, refit

    def fit(self, matrix: NDArray[np.float64], y: NDArray[np.int64], groups: Groups | None = None) -> Self:
        """Search on an encoded matrix [rows, features]; rows of one of the `groups` are on one side of every fold."""
        left = list(ParameterGrid(self._grid()))
        self.rungs_: list[Rung] = []
        self.folds_ = sampling.search_folds(self.spec, len(y))
        for count, rows in sampling.rungs(self.spec, y, len(left), search_rows(self.spec, self.family)):
            sample = sampling.stratified(y, rows, self.seed)
            rung = self._judge(left[:count], matrix, y, groups, sample)
            self.rungs_.append(rung)
            losses = [-self.spec.selection.metric.sign * one.mean for one in rung.candidates]
            left = [left[place] for place in np.argsort(losses, kind="stable")]
        self.best_params_ = left[0]
        if self.refit:
            self.best_estimator_ = self._make_model(len(y)).set_params(**self.best_params_).fit(matrix, y, groups)
        return self

    def predict_proba(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [rows, classes] of the best candidate, fitted on all rows."""
        result: NDArray[np.float64] = self.best_estimator_.predict_proba(matrix)
        return result

    @property
    def best_parameters(self) -> Parameters:
        """The parameters that were found best, by the classifier's own names."""
        return _bare(self.best_params_)

    @property
    def record(self) -> SearchRecord:
        """Every rung with its candidates."""
        return SearchRecord(folds=self.folds_, metric=self.spec.selection.metric, rungs=tuple(self.rungs_))

    def _grid(self) -> dict[str, list[Any]]:
        step = "classifier__classifier__" if self.spec.selection.recalibration == "platt" else "classifier__"
        grid = self.spec.search.get(self.family, DEFAULT_SEARCH[self.family])
        return {f"{step}{name}": list(values) for name, values in grid.items()}

    def _make_model(self, rows: int) -> Pipeline:
        return make_model(self.spec, self.family, self.seed, limits(self.spec, self.family, rows))

    def _judge(
        self,
        candidates: list[dict[str, Any]],
        matrix: NDArray[np.float64],
        y: NDArray[np.int64],
        groups: Groups | None,
        sample: sampling.Positions,
    ) -> Rung:
        metric = self.spec.selection.metric
        together = None if groups is None else groups[sample]
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        searched = GridSearchCV(
            self._make_model(len(sample)),
            [{name: [value] for name, value in candidate.items()} for candidate in candidates],
            scoring=partial(_score, metric),
            cv=kind(self.folds_, shuffle=True, random_state=self.seed),
            refit=False,
            error_score="raise",
        )
        with threads.for_rows(len(sample)):
            searched.fit(matrix[sample], y[sample], groups=together, together=together)
        results = searched.cv_results_
        scored = zip(candidates, results["mean_test_score"], results["std_test_score"], strict=True)
        return Rung(
            rows=len(sample),
            candidates=tuple(
                Candidate(parameters=_bare(candidate), mean=metric.sign * float(mean), sd=float(sd))
                for candidate, mean, sd in scored
            ),
        )


def _score(metric: Metric, model: Pipeline, matrix: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return a metric as scikit-learn's search maximises it."""
    return metric.sign * metrics.score(metric, truth, model.predict_proba(matrix))


def _bare(parameters: Mapping[str, Any]) -> Parameters:
    return {name.rpartition("__")[2]: value for name, value in parameters.items()}
