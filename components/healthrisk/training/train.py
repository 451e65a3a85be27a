"""Train one family of models: search its hyper-parameters, measure it by repeated cross-validation, fit it.

Everything here sees the training part only. Preprocessing is fitted anew inside every fold.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from healthrisk.errors import TrainingError
from healthrisk.spec import LOWER_IS_BETTER, DatasetSpec, Family
from healthrisk.training import metrics, preprocessing, threads

# Searched where a spec has no `search` of its own for the family. Small grids: with a few hundred patients a wider
# search mostly finds noise.
DEFAULT_SEARCH: dict[Family, dict[str, list[Any]]] = {
    "logistic_regression": {"C": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    "random_forest": {"min_samples_leaf": [1, 3, 6], "max_features": ["sqrt", 0.5]},
    "gradient_boosting": {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 8], "l2_regularization": [0.0, 1.0]},
}
_STEP = "classifier__"
Split = tuple[NDArray[np.intp], NDArray[np.intp]]
FILES = ("model.joblib", "preprocessor.joblib", "training.json", "out_of_fold.npy")


@dataclass(frozen=True)
class Trained:
    """A fitted family: scikit-learn's two objects, what was searched and found, and the out-of-fold probabilities.

    `out_of_fold` [training rows, classes] is the mean over the repeats of the cross-validation.
    """

    family: Family
    preprocessing: ColumnTransformer
    classifier: ClassifierMixin
    record: dict[str, Any]
    out_of_fold: NDArray[np.float64]

    def probabilities(self, spec: DatasetSpec, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scikit-learn's probabilities [rows, classes] for a coded matrix, through the serving preprocessor."""
        result: NDArray[np.float64] = self.pipeline(spec).predict_proba(matrix)
        return result

    def pipeline(self, spec: DatasetSpec) -> Pipeline:
        """Return the fitted model as one scikit-learn estimator of coded matrices."""
        step = preprocessing.ServedPreprocessing(spec)
        step.preprocessor_ = preprocessing.extract(spec, self.preprocessing)
        return Pipeline([("preprocess", step), ("classifier", self.classifier)])

    def save(self, folder: Path) -> None:
        """Write the files of `FILES` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(self.classifier, folder / "model.joblib")
        joblib.dump(self.preprocessing, folder / "preprocessor.joblib")
        np.save(folder / "out_of_fold.npy", self.out_of_fold)
        (folder / "training.json").write_text(json.dumps(self.record, indent=1), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. It opens joblib files: only for a pipeline's own artifacts, never in a server."""
        record = json.loads((folder / "training.json").read_text("utf-8"))
        return cls(
            family=record["family"],
            preprocessing=joblib.load(folder / "preprocessor.joblib"),
            classifier=joblib.load(folder / "model.joblib"),
            record=record,
            out_of_fold=np.load(folder / "out_of_fold.npy", allow_pickle=False),
        )


def unfitted(family: Family, seed: int) -> ClassifierMixin:
    """Return a family's classifier with the settings that are not searched."""
    makers: dict[Family, Callable[[], ClassifierMixin]] = {
        "logistic_regression": lambda: LogisticRegression(max_iter=5000),
        "random_forest": lambda: RandomForestClassifier(n_estimators=100, random_state=seed),
        "gradient_boosting": lambda: HistGradientBoostingClassifier(
            max_iter=100, early_stopping=False, random_state=seed
        ),
    }
    return makers[family]()


def train(
    spec: DatasetSpec,
    family: Family,
    fitted: ColumnTransformer,
    part: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
) -> Trained:
    """Search, cross-validate and fit one family on a coded matrix [rows, features] with class positions [rows].

    `fitted` is the preprocessing fitted on the same part; the final classifier stands on it.

    Raises:
        TrainingError: a class has fewer rows than there are folds, or the search space names what the family lacks.
    """
    matrix, y = part
    _check_classes(spec, y)
    with parallel(family, len(y)):
        found = search(spec, family, seed).fit(matrix, y)
        parameters = {name.removeprefix(_STEP): value for name, value in found.best_params_.items()}
        best = estimator(spec, family, seed, parameters)
        # Other folds than the search's, so that the figures are not those it was tuned on.
        folds, out_of_fold = cross_validate(spec, best, matrix, y, splits(spec, y, seed + 1))
        inputs = preprocessing.extract(spec, fitted).transform(matrix).astype(np.float64)
        classifier = clone(best["classifier"]).fit(inputs, y)
    record = {
        "family": family,
        "seed": seed,
        "rows": len(y),
        "parameters": parameters,
        "search": {"folds": spec.selection.folds, "metric": spec.selection.metric, "candidates": _candidates(found)},
        "cross_validation": summary(spec, folds),
    }
    return Trained(family, fitted, classifier, record, out_of_fold)


@contextmanager
def parallel(family: Family, rows: int) -> Iterator[None]:
    """Fit one family's models side by side within this context.

    Threads share the data and cost no start-up, and a forest releases the interpreter while it grows a tree; boosting
    does not, and brings threads of its own for large tables.
    """
    jobs = 1 if family == "gradient_boosting" else joblib.cpu_count()
    with threads.for_rows(rows), joblib.parallel_config("threading", n_jobs=jobs):
        yield


def estimator(spec: DatasetSpec, family: Family, seed: int, parameters: Mapping[str, Any]) -> Pipeline:
    """Return an unfitted model of coded matrices: the serving preprocessor, then the classifier."""
    classifier = unfitted(family, seed).set_params(**parameters)
    return Pipeline([("preprocess", preprocessing.ServedPreprocessing(spec)), ("classifier", classifier)])


def splits(spec: DatasetSpec, y: NDArray[np.int64], seed: int, repeats: int | None = None) -> list[Split]:
    """Return the spec's repeated stratified folds, as rows to fit on and rows held out."""
    folds = RepeatedStratifiedKFold(
        n_splits=spec.selection.folds, n_repeats=repeats or spec.selection.repeats, random_state=seed
    )
    return list(folds.split(np.zeros((len(y), 1)), y))


def _check_classes(spec: DatasetSpec, y: NDArray[np.int64]) -> None:
    counts = np.bincount(y, minlength=len(spec.target.classes))
    scarce = int(counts.argmin())
    if counts[scarce] < spec.selection.folds:
        name = spec.target.classes[scarce].name
        folds = spec.selection.folds
        raise TrainingError(
            f"class {name!r} has {counts[scarce]} training rows; {folds}-fold cross-validation needs {folds}"
        )


def search(spec: DatasetSpec, family: Family, seed: int, *, refit: bool = False) -> GridSearchCV:
    """Return the unfitted search of a family's hyper-parameters; with `refit` it is a model that tunes itself.

    Raises:
        TrainingError: the search space names what the family lacks.
    """
    pipeline = estimator(spec, family, seed, {})
    grid = {f"{_STEP}{name}": list(values) for name, values in spec.search.get(family, DEFAULT_SEARCH[family]).items()}
    if unknown := sorted(set(grid) - set(pipeline.get_params())):
        raise TrainingError(f"search space of {family}: there is no parameter {unknown[0].removeprefix(_STEP)!r}")
    metric = spec.selection.metric
    sign = metric not in LOWER_IS_BETTER

    def scorer(model: Pipeline, x: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
        value = metrics.SCORES[metric](truth, model.predict_proba(x))
        return value if sign else -value

    folds = StratifiedKFold(spec.selection.folds, shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, grid, scoring=scorer, cv=folds, refit=refit, error_score="raise")


def cross_validate(
    spec: DatasetSpec,
    model: BaseEstimator,
    matrix: NDArray[np.float64],
    y: NDArray[np.int64],
    folds: Sequence[Split],
) -> tuple[list[dict[str, float]], NDArray[np.float64]]:
    """Return every fold's scores and the mean out-of-fold probabilities [rows, classes].

    Folds are fitted side by side as `parallel` says.
    """

    def one(fit_on: NDArray[np.intp], held_out: NDArray[np.intp]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = clone(model).fit(matrix[fit_on], y[fit_on]).predict_proba(matrix[held_out])
        return result

    answers = joblib.Parallel()(joblib.delayed(one)(*fold) for fold in folds)
    pooled = np.zeros((len(y), len(spec.target.classes)))
    for (_, held_out), answer in zip(folds, answers, strict=True):
        pooled[held_out] += answer
    pooled /= len(folds) // spec.selection.folds
    scores = [metrics.score_all(y[held_out], answer) for (_, held_out), answer in zip(folds, answers, strict=True)]
    return scores, pooled


def _candidates(search: GridSearchCV) -> list[dict[str, Any]]:
    found = search.cv_results_
    rows = zip(found["params"], found["mean_test_score"], found["std_test_score"], strict=True)
    return [
        {
            "parameters": {name.removeprefix(_STEP): v for name, v in parameters.items()},
            "mean": abs(mean),
            "sd": sd,
        }
        for parameters, mean, sd in rows
    ]


def summary(spec: DatasetSpec, folds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return scores of repeated cross-validation by metric, with their corrected resampled t intervals."""
    columns = {name: np.array([fold[name] for fold in folds]) for name in folds[0]}
    return {
        "folds": spec.selection.folds,
        "repeats": len(folds) // spec.selection.folds,
        "scores": {name: values.tolist() for name, values in columns.items()},
        "intervals": {
            name: metrics.resampled_interval(values, spec.selection.folds, math.inf if name in LOWER_IS_BETTER else 1.0)
            for name, values in columns.items()
        },
    }
