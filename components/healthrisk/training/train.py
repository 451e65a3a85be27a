"""Train one family of models: search its hyper-parameters, measure it by repeated cross-validation, fit it.

Everything here sees the training part only. Preprocessing is fitted anew inside every fold.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec, Family
from healthrisk.training import preprocessing, sampling
from healthrisk.training.cross_validation import summarize, validate
from healthrisk.training.estimators import fit_arguments, limits, make_model, parallel
from healthrisk.training.grouping import Groups
from healthrisk.training.record import TrainingRecord
from healthrisk.training.sampling import Positions
from healthrisk.training.search import Search


@dataclass(frozen=True)
class Trained:
    """A fitted family: scikit-learn's two objects, what was searched and found, and the out-of-fold probabilities.

    `out_of_fold` [judged rows, classes] is of one cross-validation: each row's by a model fitted without it. `judged`
    says which rows of the training part these are: all, or a stratified sample of a large one.
    """

    family: Family
    preprocessing: ColumnTransformer
    classifier: ClassifierMixin
    record: TrainingRecord
    out_of_fold: NDArray[np.float64]
    judged: Positions

    def probabilities(self, spec: DatasetSpec, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scikit-learn's probabilities [rows, classes] for an encoded matrix, by the serving preprocessor."""
        result: NDArray[np.float64] = self.pipeline(spec).predict_proba(matrix)
        return result

    def pipeline(self, spec: DatasetSpec) -> Pipeline:
        """Return the fitted model as one scikit-learn estimator of encoded matrices."""
        step = preprocessing.ServedPreprocessing(spec)
        step.preprocessor_ = preprocessing.extract(spec, self.preprocessing)
        return Pipeline([("preprocess", step), ("classifier", self.classifier)])

    def save(self, folder: Path, fitted: Path | None = None) -> None:
        """Write a folder that `load` reads. `fitted` is the preprocessing's own file, if there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(self.classifier, folder / "model.joblib")
        if fitted:
            # The very bytes: pickled anew they may be others, and the bundle's digest with them.
            shutil.copyfile(fitted, folder / "preprocessor.joblib")
        else:
            joblib.dump(self.preprocessing, folder / "preprocessor.joblib")
        np.save(folder / "out_of_fold.npy", self.out_of_fold)
        np.save(folder / "judged.npy", self.judged)
        self.record.write(folder / "training.json")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. It opens joblib files: only for a pipeline's own artifacts, never in a server."""
        record = TrainingRecord.read(folder / "training.json")
        return cls(
            family=record.family,
            preprocessing=joblib.load(folder / "preprocessor.joblib"),
            classifier=joblib.load(folder / "model.joblib"),
            record=record,
            out_of_fold=np.load(folder / "out_of_fold.npy", allow_pickle=False),
            judged=np.load(folder / "judged.npy", allow_pickle=False),
        )


def train(
    spec: DatasetSpec,
    family: Family,
    fitted: ColumnTransformer,
    part: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
    groups: Groups | None = None,
) -> Trained:
    """Search, cross-validate and fit one family on an encoded matrix [rows, features] with class positions [rows].

    `fitted` is the preprocessing fitted on the same part; the final classifier stands on it. Rows of one of the
    `groups` are never on both sides of a fold.

    Raises:
        TrainingError: a class has fewer rows than there are folds.
    """
    matrix, y = part
    # Where the caller keeps none, the encoded rows are gone before a model is fitted on what is made of them.
    del part
    _check_classes(spec, y)
    judged = sampling.judged(spec, y, seed)
    with parallel(family, matrix):
        searched = Search(spec, family, seed).fit(matrix, y, groups)
        parameters = searched.best_parameters | limits(spec, family, len(y))
        best = make_model(spec, family, seed, parameters)
        # Other folds than the search's, so that the figures are not those it was tuned on.
        together = None if groups is None else groups[judged]
        scores, out_of_fold = validate(spec, best, matrix[judged], y[judged], seed + 1, together)
    # A tree of a forest sees float32 either way: wide values would be copied into narrow ones.
    kind = np.float32 if family == "random_forest" else np.float64
    inputs = preprocessing.model_inputs(preprocessing.extract(spec, fitted), matrix, kind)
    del matrix
    with parallel(family, inputs, alone=True):
        classifier = clone(best["classifier"])
        classifier.fit(inputs, y, **fit_arguments(classifier, groups))
    record = TrainingRecord(
        family=family,
        seed=seed,
        rows=len(y),
        judged=len(judged),
        parameters=parameters,
        search=searched.record,
        cross_validation=summarize(spec, scores),
    )
    return Trained(family, fitted, classifier, record, out_of_fold, judged)


def _check_classes(spec: DatasetSpec, y: NDArray[np.int64]) -> None:
    counts = np.bincount(y, minlength=len(spec.target.classes))
    scarce = int(counts.argmin())
    if counts[scarce] < spec.selection.folds:
        name = spec.target.classes[scarce].name
        folds = spec.selection.folds
        raise TrainingError(
            f"class {name!r} has {counts[scarce]} training rows; {folds}-fold cross-validation needs {folds}"
        )
