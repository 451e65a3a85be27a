"""The search of a family's hyper-parameters by cross-validation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from healthrisk.spec import DatasetSpec, Family
from healthrisk.training import metrics
from healthrisk.training.estimators import make_model
from healthrisk.training.record import Candidate, Parameters, SearchRecord

# Searched where a spec has no `search` of its own for the family. Small grids: with a few hundred patients a wider
# search mostly finds noise.
DEFAULT_SEARCH: dict[Family, dict[str, list[Any]]] = {
    "logistic_regression": {"C": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    "random_forest": {"min_samples_leaf": [1, 3, 6], "max_features": ["sqrt", 0.5]},
    "gradient_boosting": {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 8], "l2_regularization": [0.0, 1.0]},
}


def make_search(
    spec: DatasetSpec, family: Family, seed: int, *, refit: bool = False, grouped: bool = False
) -> GridSearchCV:
    """Return the unfitted search of a family's hyper-parameters; with `refit` it is a model that tunes itself.

    A grouped one wants `groups` when it is fitted, and `together`, the same, for what is fitted in each fold.
    """
    pipeline = make_model(spec, family, seed, {})
    step = "classifier__classifier__" if spec.selection.recalibration == "platt" else "classifier__"
    grid = {f"{step}{name}": list(values) for name, values in spec.search.get(family, DEFAULT_SEARCH[family]).items()}
    metric = spec.selection.metric

    def scorer(model: Pipeline, x: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
        return metric.sign * metrics.score(metric, truth, model.predict_proba(x))

    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    folds = kind(spec.selection.folds, shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, grid, scoring=scorer, cv=folds, refit=refit, error_score="raise")


def best_parameters(searched: GridSearchCV) -> Parameters:
    """Return the parameters that a fitted search found best, by the classifier's own names."""
    return _bare(searched.best_params_)


def record_of(spec: DatasetSpec, searched: GridSearchCV) -> SearchRecord:
    """Return every candidate of a fitted search with its score."""
    results, sign = searched.cv_results_, spec.selection.metric.sign
    rows = zip(results["params"], results["mean_test_score"], results["std_test_score"], strict=True)
    return SearchRecord(
        folds=spec.selection.folds,
        metric=spec.selection.metric,
        candidates=tuple(
            Candidate(parameters=_bare(parameters), mean=sign * float(mean), sd=float(sd))
            for parameters, mean, sd in rows
        ),
    )


def _bare(parameters: Mapping[str, Any]) -> Parameters:
    return {name.rpartition("__")[2]: value for name, value in parameters.items()}
