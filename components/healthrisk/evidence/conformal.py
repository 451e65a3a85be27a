"""Sets of classes that hold the true one as often as is promised, by label-conditional conformal prediction.

Each row's set is calibrated on the other tenths' unseen probabilities, each class on its own rows: so the promise
holds of a rare class as of a common one (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005,
section 4.5).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from healthrisk.evidence import fairness
from healthrisk.evidence.clinical_documents import Coverage, PredictionSets
from healthrisk.spec import DatasetSpec
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import proportion

PROMISED = 0.9
# More change nothing; a class needs a row in each.
FOLDS = 10
Flags = NDArray[np.bool_]


def describe(
    spec: DatasetSpec,
    matrix: NDArray[np.float64],
    y: NDArray[np.int64],
    p: NDArray[np.float64],
    seed: int,
    groups: Groups | None,
) -> PredictionSets | None:
    """Return what became of the promise, over all, by class and by sensitive group.

    `matrix` [rows, features] is encoded, `y` [rows] class positions, `p` [rows, classes] unseen probabilities. None
    where a class has too few rows.
    """
    folds = min(FOLDS, int(np.bincount(y, minlength=p.shape[1]).min()))
    if folds < 2:
        return None
    sets = predict_sets(y, p, seed, folds, groups)
    covered = sets[np.arange(len(y)), y]
    among = [(cls.name, y == place) for place, cls in enumerate(spec.target.classes)]
    for name in spec.sensitive:
        column, values = spec.by_name[name], matrix[:, spec.features.index(name)]
        names, places = fairness.groups(spec, column, values)
        among += [(f"{column.label}: {names[place]}", places == place) for place in np.unique(places)]
    return PredictionSets(
        promised=PROMISED,
        overall=_coverage("everybody", np.ones(len(y), dtype=bool), covered, sets),
        single=float((sets.sum(axis=1) == 1).mean()),
        empty=float((sets.sum(axis=1) == 0).mean()),
        groups=tuple(_coverage(name, mask, covered, sets) for name, mask in among),
    )


def predict_sets(
    y: NDArray[np.int64], p: NDArray[np.float64], seed: int, folds: int, groups: Groups | None = None
) -> Flags:
    """Return which classes [rows, classes] each row's set holds. Rows of one of the `groups` calibrate none other."""
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    sets = np.zeros(p.shape, dtype=bool)
    for rest, own in kind(folds, shuffle=True, random_state=seed).split(p, y, groups):
        for place in range(p.shape[1]):
            values = p_values(1 - p[rest[y[rest] == place], place], 1 - p[own, place])
            sets[own, place] = values > 1 - PROMISED
    return sets


def p_values(known: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how usual each score [rows asked] is: the share of known scores [rows known], and itself, not below it."""
    at_least = len(known) - np.searchsorted(np.sort(known), asked, side="left")
    return np.asarray((at_least + 1) / (len(known) + 1))


def _coverage(name: str, mask: Flags, covered: Flags, sets: Flags) -> Coverage:
    hits, rows = int(covered[mask].sum()), int(mask.sum())
    return Coverage(group=name, rows=rows, covered=proportion(hits, rows), size=float(sets[mask].sum(axis=1).mean()))
