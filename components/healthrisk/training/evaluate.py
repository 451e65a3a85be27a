"""Compare the trained families, choose one by a stated rule, and hold it against the spec's gates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline

from healthrisk.spec import FAMILIES, LOWER_IS_BETTER, DatasetSpec, Gate
from healthrisk.training import metrics, threads
from healthrisk.training.train import Trained

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
) -> dict[str, Any]:
    """Measure every model on both parts, given as coded matrix and class positions, and decide.

    Returns a JSON-ready dict: `models` by family, `winner`, `rule`, `gates` and `passed`.
    """
    with threads.for_rows(len(train[1])):
        measured: dict[str, Any] = {model.family: _measure(spec, model, train, test, seed) for model in models}
    winner, best = choose(
        spec, {family: result["cross_validation"]["intervals"] for family, result in measured.items()}
    )
    gates = [check(gate, measured[winner]["test"]) for gate in spec.gates]
    return {
        "dataset": spec.name,
        "metric": spec.selection.metric,
        "seed": seed,
        "rows": {"train": len(train[1]), "test": len(test[1])},
        "rule": RULE.format(metric=spec.selection.metric),
        "best": best,
        "winner": winner,
        "gates": gates,
        "passed": all(gate["passed"] for gate in gates),
        "models": measured,
    }


def choose(spec: DatasetSpec, intervals: dict[str, dict[str, dict[str, float]]]) -> tuple[str, str]:
    """Return the simplest family within one standard error of the best, and the best itself.

    Source: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3.
    """
    metric = spec.selection.metric
    sign = -1 if metric in LOWER_IS_BETTER else 1
    scores = {family: values[metric] for family, values in intervals.items()}
    best = max(scores, key=lambda family: sign * scores[family]["mean"])
    bound = sign * scores[best]["mean"] - scores[best]["standard_error"]
    within = [family for family in FAMILIES if family in scores and sign * scores[family]["mean"] >= bound]
    return within[0], best


def check(gate: Gate, measured: dict[str, Any]) -> dict[str, Any]:
    """Return a gate's verdict on the hold-out's metrics."""
    value = measured[gate.metric]
    # A metric that could not be computed is NaN, and NaN keeps no bound.
    passed = value >= gate.min if gate.min is not None else value <= gate.max
    bound = f">= {gate.min:g}" if gate.min is not None else f"<= {gate.max:g}"
    return {"metric": gate.metric, "bound": bound, "value": value, "passed": bool(passed)}


def _measure(
    spec: DatasetSpec,
    model: Trained,
    train: tuple[NDArray[np.float64], NDArray[np.int64]],
    test: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
) -> dict[str, Any]:
    (matrix, y), probabilities = test, model.probabilities(spec, test[0])
    intervals = {
        metric: metrics.bootstrap_interval(metric, y, probabilities, seed)
        for metric in dict.fromkeys(["accuracy", spec.selection.metric])
    }
    return {
        "parameters": model.record["parameters"],
        "cross_validation": model.record["cross_validation"],
        "train": metrics.measure(spec, train[1], model.probabilities(spec, train[0])),
        "test": metrics.measure(spec, y, probabilities) | {"intervals": intervals},
        "curves": _curves(spec, train[1], model.out_of_fold),
        "importance": _importance(spec, model, matrix, y, seed),
    }


def _curves(spec: DatasetSpec, y: NDArray[np.int64], out_of_fold: NDArray[np.float64]) -> dict[str, Any]:
    """ROC and calibration by class, from out-of-fold probabilities: they are more than the hold-out's."""
    events = [1] if spec.is_binary else range(len(spec.target.classes))
    result = {}
    for k in events:
        outcome, p = y == k, out_of_fold[:, k]
        result[spec.target.classes[k].name] = {
            "roc": metrics.roc_points(outcome.astype(np.int64), np.column_stack([1 - p, p])),
            "calibration": metrics.calibration_points(outcome, p),
        }
    return result


def _importance(
    spec: DatasetSpec, model: Trained, matrix: NDArray[np.float64], y: NDArray[np.int64], seed: int
) -> list[dict[str, Any]]:
    """Loss of the selection metric when a clinical feature's hold-out values are shuffled (Breiman 2001)."""
    metric = spec.selection.metric
    sign = -1 if metric in LOWER_IS_BETTER else 1

    def scorer(estimator: Pipeline, x: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
        return sign * metrics.SCORES[metric](truth, estimator.predict_proba(x))

    pipeline = model.pipeline(spec)
    found = permutation_importance(
        pipeline,
        matrix[:IMPORTANCE_ROWS],
        y[:IMPORTANCE_ROWS],
        scoring=scorer,
        n_repeats=IMPORTANCE_REPEATS,
        random_state=seed,
    )
    rows = zip(spec.columns, found.importances_mean, found.importances_std, strict=True)
    listed = [{"feature": c.name, "label": c.label, "mean": float(mean), "sd": float(sd)} for c, mean, sd in rows]
    return sorted(listed, key=lambda row: -row["mean"])
