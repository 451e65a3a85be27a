"""What a model is worth beside simpler things: rules of thumb, and the same model without some columns."""

import numpy as np
from numpy.typing import NDArray

from healthrisk.evidence.documents import AblationFigures, BaselineFigures
from healthrisk.spec import Ablation, Baseline, DatasetSpec, Family
from healthrisk.spec.metric import ACCURACY, F1_MACRO
from healthrisk.training import cross_validation, estimators, metrics, search
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import proportion
from healthrisk.training.record import CrossValidation, Parameters
from healthrisk.training.sampling import Part


def baselines(spec: DatasetSpec, test: Part, every: Part) -> tuple[BaselineFigures, ...]:
    """Return the accuracy and macro F1 of each rule of the spec on the hold-out, and its accuracy on every row.

    A rule learns nothing, so every row may judge it.
    """
    return tuple(_baseline(spec, baseline, test, every) for baseline in spec.evidence.baselines)


def _baseline(spec: DatasetSpec, baseline: Baseline, test: Part, every: Part) -> BaselineFigures:
    (matrix, y), (all_rows, outcomes) = test, every
    predicted = np.eye(len(spec.target.classes))[apply(spec, baseline, matrix)]
    hits = int((apply(spec, baseline, all_rows) == outcomes).sum())
    return BaselineFigures(
        name=baseline.name,
        accuracy=metrics.score(ACCURACY, y, predicted),
        f1_macro=metrics.score(F1_MACRO, y, predicted),
        everywhere=proportion(hits, len(outcomes)),
    )


def apply(spec: DatasetSpec, baseline: Baseline, matrix: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return a rule's class position for each row; a row that lacks a value gets the lowest class."""
    index = np.ones(len(matrix))
    for name, power in baseline.powers.items():
        index *= matrix[:, spec.features.index(name)] ** power
    return np.searchsorted(baseline.cuts, np.nan_to_num(index), side="right")


class AblatedModel:
    """A family fitted on all columns but some, with given parameters or its own; it scores rows of the full spec."""

    def __init__(self, spec: DatasetSpec, ablation: Ablation, family: Family, parameters: Parameters, seed: int):
        self.name = ablation.name
        self.left_out = tuple(spec.by_name[name].label for name in ablation.without)
        self.spec = spec.reduce(ablation.without)
        self._kept = [place for place, name in enumerate(spec.features) if name not in ablation.without]
        self._family, self._seed = family, seed
        self._model = estimators.make_model(self.spec, family, seed, parameters)

    def search(self, part: Part, groups: Groups | None = None) -> "AblatedModel":
        """Take the parameters that a search on an encoded part of the full spec finds best."""
        matrix, y = part
        with estimators.parallel(self._family, matrix):
            searched = search.Search(self.spec, self._family, self._seed).fit(matrix[:, self._kept], y, groups)
        self._model.set_params(**searched.best_params_)
        return self

    def fit(self, part: Part, groups: Groups | None = None) -> "AblatedModel":
        """Fit on an encoded part of the full spec."""
        self._model.fit(part[0][:, self._kept], part[1], together=groups)
        return self

    def probabilities(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [rows, classes] for an encoded matrix of the full spec."""
        result: NDArray[np.float64] = self._model.predict_proba(matrix[:, self._kept])
        return result

    def cross_validate(self, part: Part, groups: Groups | None = None) -> CrossValidation:
        """Return the scores of repeated cross-validation on an encoded part of the full spec."""
        matrix, y = part
        with estimators.parallel(self._family, matrix):
            scores, _ = cross_validation.validate(
                self.spec, self._model, matrix[:, self._kept], y, self._seed + 1, groups
            )
        return cross_validation.summarize(self.spec, scores)


def measure(ablated: AblatedModel, train: Part, test: Part, groups: Groups | None, *, full: bool) -> AblationFigures:
    """Fit an ablated model on `train` and return its scores on `test`; in full it searches and is cross-validated, too.

    `groups` [training rows] says which rows belong together.
    """
    validated = None
    if full:
        ablated.search(train, groups)
        validated = ablated.cross_validate(train, groups).intervals
    matrix, y = test
    return AblationFigures(
        name=ablated.name,
        without=ablated.left_out,
        test=metrics.score_all(y, ablated.fit(train, groups).probabilities(matrix)),
        cross_validation=validated,
    )
