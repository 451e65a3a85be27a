"""Whether more rows would help, and what a sample cost: the winner fitted on ever more of the rows, judged on the rest.

Every size is judged on the same rows, so the gain of a doubling is paired, row by row, and its interval is far narrower
than that of either loss. The largest size is the cross-validation's own, which costs nothing more. Intervals are of the
rows that are judged, not of the rows that might have been drawn to fit on.
"""

import math
from collections.abc import Sequence

import joblib
import numpy as np
from numpy.typing import NDArray

from healthrisk.evidence.scale_documents import CurvePoint, LearningCurve
from healthrisk.spec import DatasetSpec
from healthrisk.training import cross_validation, estimators, sampling
from healthrisk.training.cross_validation import Split
from healthrisk.training.estimators import Model
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import Estimate, wald
from healthrisk.training.metrics import row_losses
from healthrisk.training.sampling import Part
from healthrisk.training.train import Trained

# Of the rows that a fold fits on.
SHARES = (1 / 8, 1 / 4, 1 / 2)
# A gain below this share of the log loss of the classes' frequencies changes no decision.
NEGLIGIBLE = 0.01
Values = NDArray[np.float64]


def describe(
    spec: DatasetSpec, model: Trained, train: Part, test: Part, seed: int, groups: Groups | None
) -> LearningCurve:
    """Return the curve over the judged rows of `train`, and with `test` what became of a sample, if there was one.

    `groups` [judged training rows] says which rows belong together. A large table's curve has one fold.
    """
    y = train[1]
    folds = cross_validation.splits(spec, y, seed + 1, 1, groups)[: 1 if len(y) > spec.scale.whole_rows else None]
    held_out = np.concatenate([rows for _, rows in folds])
    losses = {1.0: row_losses(y[held_out], model.out_of_fold[held_out])}
    with estimators.parallel(model.family, train[0]):
        for share in SHARES:
            if _scarcest(spec, y, folds, share) >= spec.selection.folds:
                losses[share] = _refit(spec, model, train, folds, share, groups)
    frequencies = np.bincount(y) / len(y)
    nothing = -float(frequencies[frequencies > 0] @ np.log(frequencies[frequencies > 0]))
    return LearningCurve(
        judged=len(held_out),
        points=tuple(CurvePoint(rows=_size(folds, share), log_loss=_mean(losses[share])) for share in sorted(losses)),
        gain=_mean(losses[0.5] - losses[1.0]) if 0.5 in losses else None,
        negligible=NEGLIGIBLE * nothing,
        sample_cost=_sample_cost(spec, model, train, test, groups),
    )


def _size(folds: Sequence[Split], share: float) -> int:
    return math.ceil(share * len(folds[0][0]))


def _scarcest(spec: DatasetSpec, y: NDArray[np.int64], folds: Sequence[Split], share: float) -> int:
    """Return of how many rows of the scarcest class a share of some fold's rows holds."""
    classes = len(spec.target.classes)
    return math.ceil(share * min(int(np.bincount(y[fit_on], minlength=classes).min()) for fit_on, _ in folds))


def _refit(
    spec: DatasetSpec, model: Trained, train: Part, folds: Sequence[Split], share: float, groups: Groups | None
) -> Values:
    """Return the losses of each fold's rows, one fold after the other, by a model of a share of the others."""
    matrix, y = train
    calls = []
    for fit_on, held_out in folds:
        rows = fit_on[sampling.stratified(y[fit_on], math.ceil(share * len(fit_on)), model.record.seed)]
        calls.append(joblib.delayed(_losses)(_make(spec, model, len(rows)), matrix, y, groups, (rows, held_out)))
    return np.concatenate(joblib.Parallel()(calls))


def _losses(model: Model, matrix: Values, y: NDArray[np.int64], groups: Groups | None, fold: Split) -> Values:
    fit_on, held_out = fold
    model.fit(matrix[fit_on], y[fit_on], None if groups is None else groups[fit_on])
    return row_losses(y[held_out], model.predict_proba(matrix[held_out]))


def _make(spec: DatasetSpec, model: Trained, rows: int) -> Model:
    """Return the winner, unfitted, as it would be of so many rows."""
    limits = estimators.limits(spec, model.family, model.record.rows)
    chosen = {name: value for name, value in model.record.parameters.items() if name not in limits}
    return estimators.make_model(
        spec, model.family, model.record.seed, chosen | estimators.limits(spec, model.family, rows)
    )


def _sample_cost(spec: DatasetSpec, model: Trained, train: Part, test: Part, groups: Groups | None) -> Estimate | None:
    """Return by how much a model of the sample alone loses more, on the hold-out, than that of all rows."""
    if len(train[1]) == model.record.rows:
        return None
    matrix, y = test
    with estimators.parallel(model.family, train[0], alone=True):
        fitted = _make(spec, model, len(train[1])).fit(*train, groups)
    return _mean(row_losses(y, fitted.predict_proba(matrix)) - row_losses(y, model.probabilities(spec, matrix)))


def _mean(values: Values) -> Estimate:
    return wald(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
