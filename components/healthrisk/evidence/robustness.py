"""What wrong labels, noise and missing values do to a model, and whether wrong labels are found.

Every condition goes through the same repeated cross-validation with the winner's parameters: wrong labels are put into
the rows fitted on, noise and gaps into the rows judged, and all are scored against the true labels. Wrong labels are
looked for by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021), as cleanlab implements it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline

from healthrisk import metrics, train
from healthrisk.evidence import calibration, event
from healthrisk.evidence.fairness import groups
from healthrisk.spec import DatasetSpec, Family

FLIPS = (0.05, 0.10, 0.20)
# Of a number's own standard deviation.
NOISE = (0.25, 0.5)
GAPS = (0.1, 0.3)
SHOWN = ("accuracy", "roc_auc", "brier")

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]
Spoil = Callable[[Matrix, Labels, np.random.Generator], tuple[Matrix, Labels]]


@dataclass(frozen=True)
class Condition:
    """One way to spoil data: the rows fitted on (`fit`) or the rows judged."""

    what: str
    strength: float
    target: str
    on_fit: bool
    spoil: Spoil


def stress(
    spec: DatasetSpec,
    family: Family,
    parameters: dict[str, Any],
    part: tuple[Matrix, Labels],
    seed: int,
    repeats: int,
) -> list[dict[str, Any]]:
    """Return accuracy, AUC and Brier score with intervals, and calibration, under each condition; the first is none."""
    matrix, y = part
    folds = train.splits(spec, y, seed + 1, repeats)
    model = train.estimator(spec, family, seed, parameters)
    found = []
    with train.parallel(family, len(y)):
        for condition in [Condition("nothing", 0.0, "", False, _keep), *_conditions(spec, matrix)]:
            spoiled = Spoiled(model, condition, len(spec.target.classes), seed)
            scores, pooled = train.cross_validate(spec, spoiled, matrix, y, folds)
            intervals = train.summary(spec, scores)["intervals"]
            found.append(
                {
                    "what": condition.what,
                    "strength": condition.strength,
                    "target": condition.target,
                    **{name: intervals[name] for name in SHOWN},
                    "calibration": calibration.measure(event.of(spec, y, pooled)),
                }
            )
    return found


def suspects(y: Labels, out_of_fold: Matrix) -> NDArray[np.bool_]:
    """Return which labels [rows] look wrong beside out-of-fold probabilities [rows, classes]."""
    found: NDArray[np.bool_] = find_label_issues(y, out_of_fold, n_jobs=1)
    return found


def detect(
    spec: DatasetSpec,
    family: Family,
    parameters: dict[str, Any],
    part: tuple[Matrix, Labels],
    seed: int,
) -> list[dict[str, Any]]:
    """Return, for each share of labels flipped at random, how many of them are found, and how often that is right.

    Some labels of the original table may be wrong as well: what it finds among those counts against its precision.
    """
    matrix, y = part
    model = train.estimator(spec, family, seed, parameters)
    found = []
    for share in (0.0, *FLIPS):
        wrong = flip(y, np.ones(len(y), dtype=bool), share, len(spec.target.classes), np.random.default_rng(seed))
        with train.parallel(family, len(y)):
            _, pooled = train.cross_validate(spec, model, matrix, wrong, train.splits(spec, wrong, seed + 1, 1))
        flagged, flipped = suspects(wrong, pooled), wrong != y
        hits = int((flagged & flipped).sum())
        found.append(
            {
                "strength": share,
                "flagged": metrics.proportion(int(flagged.sum()), len(y)),
                "recall": metrics.proportion(hits, int(flipped.sum())) if flipped.any() else None,
                "precision": metrics.proportion(hits, int(flagged.sum())) if flagged.any() and share else None,
            }
        )
    return found


def flip(y: Labels, among: NDArray[np.bool_], share: float, classes: int, rng: np.random.Generator) -> Labels:
    """Return labels of which a share of those `among` [rows] stand for another class, drawn evenly."""
    rows = np.flatnonzero(among)
    chosen = rng.choice(rows, round(share * len(rows)), replace=False)
    wrong = y.copy()
    wrong[chosen] = (y[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return wrong


class Spoiled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model that is fitted on, or asked about, spoiled rows."""

    def __init__(self, model: Pipeline, condition: Condition, classes: int, seed: int) -> None:
        self.model, self.condition, self.classes, self.seed = model, condition, classes, seed

    def fit(self, matrix: Matrix, y: Labels) -> Self:
        """Fit on coded rows, spoiled where the condition says so."""
        spoiled = self._spoil(matrix, y) if self.condition.on_fit else (matrix, y)
        self.model_ = clone(self.model).fit(*spoiled)
        return self

    def predict_proba(self, matrix: Matrix) -> Matrix:
        """Return probabilities [rows, classes] for coded rows, spoiled where the condition says so."""
        if not self.condition.on_fit:
            matrix = self._spoil(matrix, np.zeros(len(matrix), dtype=np.int64))[0]
        result: Matrix = self.model_.predict_proba(matrix)
        return result

    def _spoil(self, matrix: Matrix, y: Labels) -> tuple[Matrix, Labels]:
        return self.condition.spoil(matrix, y, np.random.default_rng(self.seed))


def _conditions(spec: DatasetSpec, matrix: Matrix) -> list[Condition]:
    classes = len(spec.target.classes)
    conditions = [Condition("label flips", share, "everybody", True, _flips(share, classes)) for share in FLIPS]
    coded = [name for name in spec.sensitive if spec.by_name[name].kind == "code"]
    if coded:
        column, place = spec.by_name[coded[0]], spec.features.index(coded[0])
        names, member = groups(spec, column, matrix[:, place])
        present, sizes = np.unique(member, return_counts=True)
        smallest = present[sizes.argmin()]
        label, within = f"{column.label}: {names[smallest]}", _members(spec, place, smallest)
        conditions += [Condition("label flips", share, label, True, _flips(share, classes, within)) for share in FLIPS]
    spread = np.nanstd(matrix, axis=0) * [column.kind != "code" for column in spec.columns]
    optional = np.array([column.missing.allowed for column in spec.columns])
    conditions += [Condition("noise", share, "numbers", False, _noise(share * spread)) for share in NOISE]
    if optional.any():
        allowed = "values that may be missing"
        conditions += [Condition("missing at serving", share, allowed, False, _gaps(share, optional)) for share in GAPS]
    return conditions


def _keep(matrix: Matrix, y: Labels, rng: np.random.Generator) -> tuple[Matrix, Labels]:  # noqa: ARG001 - a Spoil
    return matrix, y


def _members(spec: DatasetSpec, place: int, group: np.intp) -> Callable[[Matrix], NDArray[np.bool_]]:
    column = spec.columns[place]
    return lambda matrix: groups(spec, column, matrix[:, place])[1] == group


def _flips(share: float, classes: int, within: Callable[[Matrix], NDArray[np.bool_]] | None = None) -> Spoil:
    def spoil(matrix: Matrix, y: Labels, rng: np.random.Generator) -> tuple[Matrix, Labels]:
        among = within(matrix) if within else np.ones(len(y), dtype=bool)
        return matrix, flip(y, among, share, classes, rng)

    return spoil


def _noise(spread: Matrix) -> Spoil:
    return lambda matrix, y, rng: (matrix + rng.normal(size=matrix.shape) * spread, y)


def _gaps(share: float, optional: NDArray[np.bool_]) -> Spoil:
    return lambda matrix, y, rng: (np.where((rng.random(matrix.shape) < share) & optional, np.nan, matrix), y)
