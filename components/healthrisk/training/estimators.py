"""The families of models: unfitted classifiers, alone and behind the serving preprocessor, and how many fit at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from healthrisk import engine
from healthrisk.spec import DatasetSpec, Family
from healthrisk.training import preprocessing, threads
from healthrisk.training.grouping import Groups
from healthrisk.training.recalibration import RecalibratedClassifier
from healthrisk.training.record import Parameters

# Below it a tree is grown sooner than a thread gets the interpreter back: with two threads the forests of 242 patients
# took 12.9 s, with one 10.8, in two processes 5.9.
_VALUES_WORTH_A_THREAD = 20_000


def make_classifier(family: Family, seed: int) -> ClassifierMixin:
    """Return a family's classifier with the settings that are not searched."""
    makers: dict[Family, Callable[[], ClassifierMixin]] = {
        "logistic_regression": lambda: LogisticRegression(max_iter=5000),
        "random_forest": lambda: RandomForestClassifier(n_estimators=100, random_state=seed),
        "gradient_boosting": lambda: HistGradientBoostingClassifier(
            max_iter=100, early_stopping=False, random_state=seed
        ),
    }
    return makers[family]()


class Model(Pipeline):  # type: ignore[misc]
    """Preprocessing and a classifier, as steps of these names."""

    def fit(self, matrix: NDArray[np.float64], y: NDArray[np.int64], together: Groups | None = None) -> Self:
        """Fit on an encoded matrix [rows, features]; rows that belong `together` share a fold of a recalibration."""
        arguments = fit_arguments(self["classifier"], together)
        with threads.for_one_of_many():
            super().fit(matrix, y, **{f"classifier__{name}": value for name, value in arguments.items()})
        return self

    def predict_proba(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [rows, classes] of an encoded matrix [rows, features]."""
        with threads.for_one_of_many():
            result: NDArray[np.float64] = super().predict_proba(matrix)
        return result


def fit_arguments(classifier: ClassifierMixin, together: Groups | None) -> dict[str, Groups | None]:
    """Return what a classifier wants to know besides the rows."""
    return {"groups": together} if isinstance(classifier, RecalibratedClassifier) else {}


def make_model(spec: DatasetSpec, family: Family, seed: int, parameters: Parameters) -> Model:
    """Return an unfitted model of encoded matrices: the serving preprocessor, then the classifier."""
    classifier = make_classifier(family, seed).set_params(**parameters)
    if spec.selection.recalibration == "platt":
        classifier = RecalibratedClassifier(classifier, spec.selection.folds, seed)
    return Model([("preprocess", preprocessing.ServedPreprocessing(spec)), ("classifier", classifier)])


def limits(spec: DatasetSpec, family: Family, rows: int) -> Parameters:
    """Return what keeps a model of so many rows from costing more than it is worth: how many a forest's tree draws.

    Trees that draw fewer rows differ more, which is what a forest averages over (Scornet, ESAIM 21, 2017). A spec that
    searches how its trees draw decides for itself.
    """
    if rows <= max(spec.scale.tree_rows, spec.scale.whole_rows) or not _draws_are_limited(spec, family):
        return {}
    return {"max_samples": spec.scale.tree_rows}


def search_rows(spec: DatasetSpec, family: Family) -> int:
    """Return how many rows the last rung of a large table's search has: no more than a tree draws are worth a forest's.

    What suits a tree, such as its least leaf, follows from the rows that it draws.
    """
    scale = spec.scale
    return min(scale.search_rows, scale.tree_rows) if _draws_are_limited(spec, family) else scale.search_rows


def _draws_are_limited(spec: DatasetSpec, family: Family) -> bool:
    searched = spec.search.get(family, {})
    return family == "random_forest" and not {"max_samples", "bootstrap"} & set(searched)


@contextmanager
def parallel(family: Family, matrix: NDArray[np.floating[Any]], *, alone: bool = False) -> Iterator[None]:
    """Fit one family's models of a matrix [rows, features] side by side within this context, or one model `alone`.

    Threads share the data and cost no start-up, and a forest releases the interpreter while it grows a tree; those of a
    small table are fitted in forked processes. Boosting holds it for part of the time: of a small table, whose steps
    run side by side, its models are fitted one after the other. A cluster fits each model by one thread.
    """
    backend, jobs = "threading", joblib.cpu_count()
    if family == "gradient_boosting" and len(matrix) < threads.ROWS_WORTH_A_THREAD:
        jobs = 1
    if family == "random_forest" and matrix.size < _VALUES_WORTH_A_THREAD:
        # Trees that came back from processes would be the same ones, in other bytes.
        backend, jobs = (backend, 1) if alone else ("multiprocessing", engine.side_by_side())
    with threads.for_rows(len(matrix)), engine.parallel_config(backend, n_jobs=jobs):
        yield
