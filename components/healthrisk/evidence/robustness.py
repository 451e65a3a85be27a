"""What wrong labels, noise and missing values do to a model, and whether wrong labels are found.

Every condition goes through the same repeated cross-validation with the winner's parameters: wrong labels are put into
the rows fitted on, noise and gaps into the rows judged, and all are scored against the true labels. The effect of a
condition is its change from the untouched table, fold by fold: paired, its interval is far narrower than that of the
score itself. Wrong labels are looked for by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021), as
cleanlab implements it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Self

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline

from healthrisk.evidence import calibration, event, fairness
from healthrisk.evidence.documents import ConditionFigures, Detection, Effect, SuspectLabels
from healthrisk.evidence.event import Event
from healthrisk.spec import Column, DatasetSpec, Family
from healthrisk.spec.metric import SUSPECT_LABELS
from healthrisk.training import cross_validation, estimators
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import Estimate, proportion, resampled
from healthrisk.training.record import Parameters

FLIPS = (0.05, 0.10, 0.20)
# Of a number's own standard deviation.
NOISE = (0.25, 0.5)
GAPS = (0.1, 0.3)
SHOWN = ("accuracy", "roc_auc", "brier")

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]
Perturb = Callable[[Matrix, Labels, np.random.Generator], tuple[Matrix, Labels]]


@dataclass(frozen=True)
class Group:
    """People whose labels an attacker would flip: who they are, and which rows of a matrix they are."""

    name: str
    holds: Callable[[Matrix], NDArray[np.bool_]]


def _everybody(matrix: Matrix) -> NDArray[np.bool_]:
    return np.ones(len(matrix), dtype=bool)


# Functions here and below are a module's own: what goes to another process is pickled.
EVERYBODY = Group("everybody", _everybody)


@dataclass(frozen=True)
class Condition:
    """One way to perturb data: the rows fitted on (`on_fit`), or else the rows judged."""

    what: str
    strength: float
    target: str
    on_fit: bool
    perturb: Perturb


def stress(
    spec: DatasetSpec,
    family: Family,
    parameters: Parameters,
    part: tuple[Matrix, Labels],
    seed: int,
    repeats: int,
    together: Groups | None = None,
) -> tuple[ConditionFigures, ...]:
    """Return scores, their changes and calibration, with intervals, under each condition; the first condition is none.

    What flips are targeted at has its sensitivity reported, too: overall scores hide what happens to a small group.
    """
    matrix, y = part
    folds = cross_validation.splits(spec, y, seed + 1, repeats, together)
    model = estimators.make_model(spec, family, seed, parameters)
    groups = targets(spec, matrix)
    figures: list[ConditionFigures] = []
    untouched: list[dict[str, float]] = []
    with estimators.parallel(family, matrix):
        for condition in [Condition("nothing", 0.0, "", False, _keep), *_conditions(spec, matrix, groups)]:
            perturbed = PerturbedModel(model, condition, len(spec.target.classes), seed)
            scores, pooled = cross_validation.cross_validate(spec, perturbed, matrix, y, folds, together)
            untouched = untouched or scores
            judged = event.binarize(spec, y, pooled)
            figures.append(
                ConditionFigures(
                    what=condition.what,
                    strength=condition.strength,
                    target=condition.target,
                    effects=effects(spec, scores, untouched),
                    calibration=calibration.measure(judged),
                    sensitivity={group.name: _sensitivity(group, judged, matrix) for group in groups},
                )
            )
    return tuple(figures)


def effects(spec: DatasetSpec, scores: list[dict[str, float]], untouched: list[dict[str, float]]) -> dict[str, Effect]:
    """Return each score's interval over the folds, and that of its change."""
    own = cross_validation.summarize(spec, scores).intervals
    effects = {}
    for name in SHOWN:
        changes = np.array([fold[name] - before[name] for fold, before in zip(scores, untouched, strict=True)])
        effects[name] = Effect(**own[name].model_dump(), change=resampled(changes, spec.selection.folds))
    return effects


def _sensitivity(group: Group, judged: Event, matrix: Matrix) -> Estimate | None:
    """Return the share of a group's cases that are found, if it has any."""
    cases = judged.where(group.holds(matrix) & judged.happened)
    return proportion(int(cases.predicted.sum()), len(cases.predicted)) if len(cases.predicted) else None


def suspects(y: Labels, out_of_fold: Matrix) -> NDArray[np.bool_]:
    """Return which labels [rows] look wrong beside out-of-fold probabilities [rows, classes]."""
    suspect: NDArray[np.bool_] = find_label_issues(y, out_of_fold, n_jobs=1)
    return suspect


def suspect_labels(spec: DatasetSpec, y: Labels, out_of_fold: Matrix) -> SuspectLabels:
    """Return how many labels [rows] look wrong, beside the spec's limit."""
    count, gate = int(suspects(y, out_of_fold).sum()), spec.gate(SUSPECT_LABELS)
    return SuspectLabels(rows=len(y), suspects=proportion(count, len(y)), limit=gate and gate.bound)


def detect(
    spec: DatasetSpec,
    family: Family,
    parameters: Parameters,
    part: tuple[Matrix, Labels],
    seed: int,
    together: Groups | None = None,
) -> tuple[Detection, ...]:
    """Return, for each share of labels flipped, of everybody's or a group's, how many are found, and how often rightly.

    Some labels of the original table may be wrong as well: what it finds among those counts against its precision.
    """
    matrix, y = part
    model = estimators.make_model(spec, family, seed, parameters)
    detections = []
    for target, share in [(EVERYBODY, 0.0), *product(targets(spec, matrix), FLIPS)]:
        wrong = flip(y, target.holds(matrix), share, len(spec.target.classes), np.random.default_rng(seed))
        with estimators.parallel(family, matrix):
            _, pooled = cross_validation.cross_validate(
                spec, model, matrix, wrong, cross_validation.splits(spec, wrong, seed + 1, 1, together), together
            )
        flagged, flipped = suspects(wrong, pooled), wrong != y
        hits = int((flagged & flipped).sum())
        detections.append(
            Detection(
                strength=share,
                target=target.name,
                flagged=proportion(int(flagged.sum()), len(y)),
                recall=proportion(hits, int(flipped.sum())) if flipped.any() else None,
                precision=proportion(hits, int(flagged.sum())) if flagged.any() and share else None,
            )
        )
    return tuple(detections)


def flip(y: Labels, among: NDArray[np.bool_], share: float, classes: int, rng: np.random.Generator) -> Labels:
    """Return labels of which a share of those `among` [rows] stand for another class, drawn evenly."""
    rows = np.flatnonzero(among)
    chosen = rng.choice(rows, round(share * len(rows)), replace=False)
    wrong = y.copy()
    wrong[chosen] = (y[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return wrong


class PerturbedModel(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model that is fitted on, or asked about, perturbed rows."""

    def __init__(self, model: Pipeline, condition: Condition, classes: int, seed: int) -> None:
        self.model, self.condition, self.classes, self.seed = model, condition, classes, seed

    def fit(self, matrix: Matrix, y: Labels, together: Groups | None = None) -> Self:
        """Fit on encoded rows, perturbed where the condition says so."""
        perturbed = self._perturb(matrix, y) if self.condition.on_fit else (matrix, y)
        self.model_ = clone(self.model).fit(*perturbed, together)
        return self

    def predict_proba(self, matrix: Matrix) -> Matrix:
        """Return probabilities [rows, classes] for encoded rows, perturbed where the condition says so."""
        if not self.condition.on_fit:
            matrix = self._perturb(matrix, np.zeros(len(matrix), dtype=np.int64))[0]
        result: Matrix = self.model_.predict_proba(matrix)
        return result

    def _perturb(self, matrix: Matrix, y: Labels) -> tuple[Matrix, Labels]:
        return self.condition.perturb(matrix, y, np.random.default_rng(self.seed))


def targets(spec: DatasetSpec, matrix: Matrix) -> list[Group]:
    """Return whose labels are flipped: everybody's, and those of the smallest group of the first sensitive code."""
    column = next((spec.by_name[name] for name in spec.sensitive if spec.by_name[name].kind == "code"), None)
    if column is None:
        return [EVERYBODY]
    place = spec.features.index(column.name)
    names, member = fairness.groups(spec, column, matrix[:, place])
    present, sizes = np.unique(member[~np.isnan(matrix[:, place])], return_counts=True)
    smallest = present[sizes.argmin()]
    return [EVERYBODY, Group(f"{column.label}: {names[smallest]}", partial(_belong, spec, column, place, smallest))]


def _belong(spec: DatasetSpec, column: Column, place: int, member: int, matrix: Matrix) -> NDArray[np.bool_]:
    return np.asarray(fairness.groups(spec, column, matrix[:, place])[1] == member)


def _conditions(spec: DatasetSpec, matrix: Matrix, groups: list[Group]) -> list[Condition]:
    classes = len(spec.target.classes)
    conditions = [
        Condition("label flips", share, group.name, True, partial(_flip, share, classes, group))
        for group, share in product(groups, FLIPS)
    ]
    spread = np.nanstd(matrix, axis=0) * [column.kind != "code" for column in spec.columns]
    optional = np.array([column.missing.allowed for column in spec.columns])
    conditions += [Condition("noise", share, "numbers", False, partial(_add_noise, share * spread)) for share in NOISE]
    if optional.any():
        allowed = "values that may be missing"
        conditions += [
            Condition("missing at serving", share, allowed, False, partial(_leave_out, share, optional))
            for share in GAPS
        ]
    return conditions


def _keep(matrix: Matrix, y: Labels, rng: np.random.Generator) -> tuple[Matrix, Labels]:  # noqa: ARG001 - a Perturb
    return matrix, y


def _flip(
    share: float, classes: int, group: Group, matrix: Matrix, y: Labels, rng: np.random.Generator
) -> tuple[Matrix, Labels]:
    return matrix, flip(y, group.holds(matrix), share, classes, rng)


def _add_noise(spread: Matrix, matrix: Matrix, y: Labels, rng: np.random.Generator) -> tuple[Matrix, Labels]:
    return matrix + rng.normal(size=matrix.shape) * spread, y


def _leave_out(
    share: float, optional: NDArray[np.bool_], matrix: Matrix, y: Labels, rng: np.random.Generator
) -> tuple[Matrix, Labels]:
    return np.where((rng.random(matrix.shape) < share) & optional, np.nan, matrix), y
