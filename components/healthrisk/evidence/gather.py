"""All evidence on a winner, and the gates that it adds to those on the hold-out."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import reference
from healthrisk.config import Level
from healthrisk.evidence import (
    ablation,
    calibration,
    cohort,
    event,
    external,
    fairness,
    gates,
    nested_cv,
    robustness,
)
from healthrisk.evidence.cohort import Part
from healthrisk.inference.shapley import Explainer
from healthrisk.spec import DatasetSpec, GateResult
from healthrisk.spec.metric import SUSPECT_LABELS
from healthrisk.training import metrics
from healthrisk.training.decision import Decision
from healthrisk.training.train import Trained

NESTED_REPEATS = 2
STRESS_REPEATS = 2
EXPLAINED_ROWS = 60
_log = logging.getLogger("healthrisk")


def gather(
    spec: DatasetSpec, models: Sequence[Trained], winner: str, train: Part, test: Part, seed: int, level: Level
) -> dict[str, Any]:
    """Return the evidence on the winner as a JSON-ready dict.

    Subgroups, calibration and net benefit are judged on every row: out-of-fold probabilities of the training part and
    the hold-out's, so that no row is judged by a model that has seen it.
    """
    model = next(model for model in models if model.family == winner)
    rows = np.vstack([train[0], test[0]]), np.concatenate([train[1], test[1]])
    p = np.vstack([model.out_of_fold, model.probabilities(spec, test[0])])
    judged = event.binarize(spec, rows[1], p)
    found: dict[str, Any] = {
        "level": level,
        "event": event.name(spec),
        "rows": len(p),
        "cohort": cohort.describe(spec, rows[0], judged),
        "repeated": cohort.repeated(train, test),
        "calibration": calibration.measure(judged),
        "calibration_by_class": _by_class(spec, rows[1], p),
        "gates": [gate.model_dump(mode="json") for gate in gates.judge(gates.Judged(spec, rows[1], p, rows[0]))],
        "net_benefit": calibration.net_benefit(judged),
        "fairness": fairness.audit(spec, rows[0], judged, seed),
        "baselines": ablation.baselines(spec, test, rows),
        "labels": _labels(spec, train[1], model.out_of_fold),
    }
    _log.info("calibration, subgroups and labels are judged")
    found["explanation"] = _explanation(spec, model, rows[0], test[0], seed)
    _log.info("%s patients are explained", min(EXPLAINED_ROWS, len(test[1])))
    found |= _others(spec, model, train, test, seed, level)
    if level == "full":
        parameters = model.record.parameters
        found["stress"] = robustness.stress(spec, model.family, parameters, rows, seed, STRESS_REPEATS)
        found["detection"] = robustness.detect(spec, model.family, parameters, rows, seed)
        _log.info("%s conditions of wrong or missing data are measured", len(found["stress"]) - 1)
        families = [each.family for each in models]
        found["nested"] = nested_cv.nested(spec, families, rows, seed, NESTED_REPEATS)
    return found


def add_gates(spec: DatasetSpec, decision: Decision, evidence: dict[str, Any]) -> Decision:
    """Return the decision with the evidence's gates. They are the same at every level, and so is the bundle."""
    judged = [GateResult.model_validate(gate) for gate in evidence["gates"]]
    added = [GateResult.model_validate(column["gate"]) for column in evidence["fairness"] if column["gate"]]
    if gate := spec.gate(SUSPECT_LABELS):
        suspects = evidence["labels"]["suspects"]["mean"]
        added.insert(0, GateResult(gate=gate, value=suspects, verdict=gate.judge(suspects)))
    return decision.model_copy(update={"gates": (*decision.gates, *judged, *added)})


def _by_class(spec: DatasetSpec, y: NDArray[np.int64], p: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the calibration of each class against the rest; of two classes the event's says all."""
    if spec.is_binary:
        return []
    questions = [event.Event(y == k, p.argmax(axis=1) == k, p[:, k]) for k in range(p.shape[1])]
    names = [cls.name for cls in spec.target.classes]
    return [{"name": name, **calibration.measure(one)} for name, one in zip(names, questions, strict=True)]


def _labels(spec: DatasetSpec, y: NDArray[np.int64], out_of_fold: NDArray[np.float64]) -> dict[str, Any]:
    suspects, gate = robustness.suspects(y, out_of_fold), spec.gate(SUSPECT_LABELS)
    return {
        "rows": len(y),
        "suspects": metrics.proportion(int(suspects.sum()), len(y)),
        "limit": gate and gate.bound,
    }


def _explanation(
    spec: DatasetSpec, model: Trained, every: NDArray[np.float64], shown: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """Return mean absolute Shapley values over hold-out patients, and one invented patient explained."""
    pipeline = model.pipeline(spec)
    known = reference.describe(spec, every, pipeline.predict_proba(every).astype(np.float32))
    explainer = Explainer(spec, known, pipeline.predict_proba, seed=seed)
    found = np.stack([explainer.explain(row).values for row in shown[:EXPLAINED_ROWS]])
    # Two classes mirror each other; of more, every class counts the same.
    size = np.abs(found).mean(axis=(0, 2))
    order = np.argsort(-size)
    p = pipeline.predict_proba(explainer.background)
    invented = explainer.background[int(p[:, -1].argmax())]
    one = explainer.explain(invented)
    k = int(one.probability.argmax())
    return {
        "rows": len(found),
        "overall": [{"label": spec.columns[i].label, "mean": float(size[i])} for i in order],
        "example": {
            "outcome": spec.target.classes[k].name,
            "base": float(one.base[k]),
            "probability": float(one.probability[k]),
            "values": [
                {
                    "label": spec.columns[i].label,
                    "shown": spec.columns[i].format_value(float(invented[i])),
                    "value": float(one.values[i, k]),
                    "error": float(one.errors[i, k]),
                }
                for i in np.argsort(-np.abs(one.values[:, k]))
            ],
        },
    }


def _others(spec: DatasetSpec, model: Trained, train: Part, test: Part, seed: int, level: Level) -> dict[str, Any]:
    """Return what ablated models score, and how all models do at the other sites."""
    parameters = model.record.parameters
    scores: dict[str, external.Score] = {"full": lambda matrix: model.probabilities(spec, matrix)}
    ablations = []
    for each in spec.evidence.ablations:
        ablated = ablation.AblatedModel(spec, each, model.family, parameters, seed)
        if level == "full":
            ablated.search(train)
        scores[each.name] = ablated.fit(train).probabilities
        record: dict[str, Any] = {"name": each.name, "without": [spec.by_name[name].label for name in each.without]}
        record["test"] = metrics.score_all(test[1], ablated.probabilities(test[0]))
        if level == "full":
            record["cross_validation"] = ablated.cross_validate(train, spec.selection.repeats).model_dump()["intervals"]
        ablations.append(record)
    sites = external.sites(spec, scores, seed, download=level == "full")
    for site in sites:
        _log.info("outside: %s: %s", site["name"], site.get("missing") or f"{site['rows']} rows")
    return {"ablations": ablations, "sites": sites}
