"""Compare the trained families, choose one by a stated rule, and hold it against the spec's gates."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from healthrisk.spec import FAMILIES, DatasetSpec, Family, GateResult, Verdict
from healthrisk.spec.metric import ACCURACY, F1_MACRO, ROC_AUC
from healthrisk.training import bootstrap, metrics, sampling, threads
from healthrisk.training.decision import Curves, Decision, Figures, Importance, ModelFigures, SplitRows
from healthrisk.training.importance import permutation_losses
from healthrisk.training.record import CrossValidation
from healthrisk.training.train import Trained

# Averages over classes, each of which counts the same however rare it is.
BY_CLASS = (ROC_AUC, F1_MACRO)
RULE = "the simplest model within one standard error of the best cross-validated {metric}"
# Permutation importance looks at no more rows than this: its standard error hardly shrinks beyond.
IMPORTANCE_ROWS = 1000
IMPORTANCE_REPEATS = 5


def evaluate(
    spec: DatasetSpec,
    models: Sequence[Trained],
    train: tuple[NDArray[np.float64], NDArray[np.int64]],
    test: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
) -> Decision:
    """Measure every model on both parts, given as encoded matrix and class positions, and decide.

    Of a large part the judged rows alone are measured; all models' are the same.
    """
    on = sampling.take(train, models[0].judged), sampling.take(test, sampling.judged(spec, test[1], seed))
    with threads.for_rows(len(on[0][1])):
        measured = {model.family: _measure(spec, model, *on, seed) for model in models}
    winner, best = choose(spec, {family: figures.cross_validation for family, figures in measured.items()})
    return Decision(
        dataset=spec.name,
        metric=spec.selection.metric,
        seed=seed,
        rows=SplitRows(train=len(train[1]), test=len(test[1])),
        rule=RULE.format(metric=spec.selection.metric.phrase),
        best=best,
        winner=winner,
        gates=check_gates(spec, measured[winner].test),
        models=measured,
    )


def choose(spec: DatasetSpec, results: Mapping[Family, CrossValidation]) -> tuple[Family, Family]:
    """Return the simplest family within one standard error of the best, and the best itself.

    Source: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3.
    """
    metric = spec.selection.metric
    scores = {family: result.intervals[metric.name] for family, result in results.items()}
    best = max(scores, key=lambda family: metric.sign * scores[family].mean)
    bound = metric.sign * scores[best].mean - scores[best].standard_error
    within = [family for family in FAMILIES if family in scores and metric.sign * scores[family].mean >= bound]
    return within[0], best


def check_gates(spec: DatasetSpec, figures: Figures) -> tuple[GateResult, ...]:
    """Hold the hold-out's scores against the gates on them; the spec's other gates are the evidence's.

    A score that averages over classes stands on the rows of the scarcest.
    """
    scarcest, least = min(figures.by_class, key=lambda row: row.rows), spec.evidence.min_cases
    results = []
    for gate in spec.all_gates:
        value = figures.scores.get(gate.metric.name)
        if value is None:
            continue
        verdict, reason = gate.judge(value), ""
        if gate.metric in BY_CLASS and scarcest.rows < least:
            verdict = Verdict.INCONCLUSIVE
            reason = f"the hold-out has {scarcest.rows} of class {scarcest.name!r}, {least} are needed"
        shown = None if math.isnan(value) else value
        results.append(
            GateResult(gate=gate, classes=len(figures.by_class), value=shown, verdict=verdict, reason=reason)
        )
    return tuple(results)


def _measure(
    spec: DatasetSpec,
    model: Trained,
    train: tuple[NDArray[np.float64], NDArray[np.int64]],
    test: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
) -> ModelFigures:
    (matrix, y), probabilities = test, model.probabilities(spec, test[0])
    intervals = {
        metric.name: bootstrap.interval(metric, y, probabilities, seed)
        for metric in dict.fromkeys([ACCURACY, spec.selection.metric, ROC_AUC])
        if metric not in BY_CLASS or np.bincount(y).min() >= spec.evidence.min_cases
    }
    return ModelFigures(
        parameters=model.record.parameters,
        cross_validation=model.record.cross_validation,
        train=metrics.measure(spec, train[1], model.probabilities(spec, train[0])),
        test=metrics.measure(spec, y, probabilities).model_copy(update={"intervals": intervals}),
        curves=_curves(spec, train[1], model.out_of_fold),
        importance=_importance(spec, model, matrix, y, seed),
    )


def _curves(spec: DatasetSpec, y: NDArray[np.int64], out_of_fold: NDArray[np.float64]) -> dict[str, Curves]:
    """ROC and calibration by class, from out-of-fold probabilities: they are more than the hold-out's."""
    curves = {}
    for k in [1] if spec.is_binary else range(len(spec.target.classes)):
        outcome, p = y == k, out_of_fold[:, k]
        curves[spec.target.classes[k].name] = Curves(
            roc=metrics.roc_points(outcome.astype(np.int64), np.column_stack([1 - p, p])),
            calibration=metrics.calibration_points(outcome, p),
        )
    return curves


def _importance(
    spec: DatasetSpec, model: Trained, matrix: NDArray[np.float64], y: NDArray[np.int64], seed: int
) -> tuple[Importance, ...]:
    """Loss of the selection metric when a clinical feature's hold-out values are shuffled."""
    part = matrix[:IMPORTANCE_ROWS], y[:IMPORTANCE_ROWS]
    losses = permutation_losses(
        model.pipeline(spec).predict_proba, spec.selection.metric, *part, IMPORTANCE_REPEATS, seed
    )
    rows = zip(spec.columns, losses.mean(axis=1), losses.std(axis=1), strict=True)
    listed = [Importance(feature=c.name, label=c.label, mean=float(mean), sd=float(sd)) for c, mean, sd in rows]
    return tuple(sorted(listed, key=lambda row: -row.mean))
