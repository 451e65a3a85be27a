"""All evidence on a winner, and the gates that it adds to those on the hold-out."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import reference
from healthrisk.config import Level
from healthrisk.evidence import (
    ablation,
    calibration,
    cohort,
    conformal,
    event,
    external,
    fairness,
    gates,
    imputation,
    linear_terms,
    nested_cv,
    operating,
    robustness,
    sample_size,
    smoothing,
)
from healthrisk.evidence.clinical_documents import SmoothCalibration
from healthrisk.evidence.cohort import Part
from healthrisk.evidence.documents import (
    AblationFigures,
    ClassCalibration,
    Contribution,
    EvidenceRecord,
    ExplainedPatient,
    Explanation,
    MeanEffect,
    MissingSite,
    Site,
    SuspectLabels,
)
from healthrisk.inference.shapley import Explainer
from healthrisk.spec import DatasetSpec, GateResult
from healthrisk.spec.metric import SITE_ROC_AUC, SUSPECT_LABELS
from healthrisk.training import metrics
from healthrisk.training.decision import Decision
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import Estimate, proportion
from healthrisk.training.train import Trained

NESTED_REPEATS = 2
STRESS_REPEATS = 2
EXPLAINED_ROWS = 60
_log = logging.getLogger("healthrisk")


def gather(
    spec: DatasetSpec,
    models: Sequence[Trained],
    winner: str,
    train: Part,
    test: Part,
    seed: int,
    level: Level,
    groups: Groups | None = None,
    places: NDArray[np.object_] | None = None,
) -> EvidenceRecord:
    """Return the evidence on the winner.

    Subgroups, calibration and net benefit are judged on every row: out-of-fold probabilities of the training part and
    the hold-out's, so that no row is judged by a model that has seen it. `groups` and `places` say which rows belong
    together and where they are from [training rows, then the hold-out's].
    """
    model = next(model for model in models if model.family == winner)
    rows = np.vstack([train[0], test[0]]), np.concatenate([train[1], test[1]])
    p = np.vstack([model.out_of_fold, model.probabilities(spec, test[0])])
    judged = event.binarize(spec, rows[1], p)
    on_probabilities = gates.judge(gates.Judged(spec, rows[1], p, rows[0]))
    audited = fairness.audit(spec, rows[0], judged, seed)
    labels = _labels(spec, train[1], model.out_of_fold)
    _log.info("calibration, subgroups and labels are judged")
    explanation = _explanation(spec, model, rows[0], test[0], seed)
    _log.info("%s patients are explained", explanation.rows)
    ablations, sites = _others(
        spec, model, train, test, seed, level, None if groups is None else groups[: len(train[1])]
    )
    record = EvidenceRecord(
        level=level,
        event=event.name(spec),
        rows=len(p),
        cohort=cohort.describe(spec, rows[0], judged),
        repeated=cohort.repeated(train, test),
        calibration=calibration.measure(judged),
        calibration_by_class=_by_class(spec, rows[1], p),
        gates=tuple(on_probabilities),
        net_benefit=calibration.net_benefit(judged),
        fairness=audited,
        intersections=fairness.intersections(spec, rows[0], judged, seed),
        no_information=_no_information(rows[1]),
        sample_size=sample_size.describe(spec, event.binarize(spec, train[1], model.out_of_fold)),
        operating=operating.points(spec, rows[1], p),
        smooth=_smooth(spec, rows[1], p),
        sets=conformal.describe(spec, *rows, p, seed, groups),
        linear=linear_terms.describe(spec, model),
        baselines=ablation.baselines(spec, test, rows),
        labels=labels,
        explanation=explanation,
        ablations=ablations,
        sites=sites,
        left_out=external.left_out(spec, model.family, model.record.parameters, rows, places, seed),
    )
    return _add_full(spec, models, model, rows, seed, record, groups) if level == "full" else record


def _add_full(
    spec: DatasetSpec,
    models: Sequence[Trained],
    winner: Trained,
    rows: Part,
    seed: int,
    record: EvidenceRecord,
    groups: Groups | None,
) -> EvidenceRecord:
    """Return the evidence with what takes fits of its own: robustness and nested cross-validation."""
    parameters = winner.record.parameters
    stress = robustness.stress(spec, winner.family, parameters, rows, seed, STRESS_REPEATS, groups)
    detection = robustness.detect(spec, winner.family, parameters, rows, seed, groups)
    imputations = imputation.compare(spec, winner.family, parameters, rows, seed, STRESS_REPEATS, groups)
    _log.info("%s conditions of wrong or missing data are measured", len(stress) - 1)
    nested = nested_cv.nested(spec, [model.family for model in models], rows, seed, NESTED_REPEATS, groups)
    found = {"stress": stress, "detection": detection, "imputations": imputations, "nested": nested}
    return record.model_copy(update=found)


def add_gates(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> Decision:
    """Return the decision with the evidence's gates. They are the same at every level, and so is the bundle."""
    added = [*evidence.gates]
    if gate := spec.gate(SUSPECT_LABELS):
        suspects = evidence.labels.suspects.mean
        added.append(GateResult(gate=gate, value=suspects, verdict=gate.judge(suspects)))
    if gate := spec.gate(SITE_ROC_AUC):
        added.append(external.judge(spec, gate, evidence.left_out))
    added += [comparison.gate for comparison in evidence.fairness if comparison.gate]
    return decision.model_copy(update={"gates": (*decision.gates, *added)})


def _by_class(spec: DatasetSpec, y: NDArray[np.int64], p: NDArray[np.float64]) -> tuple[ClassCalibration, ...]:
    """Return the calibration of each class against the rest; of two classes the event's says all."""
    if spec.is_binary:
        return ()
    return tuple(
        ClassCalibration(name=cls.name, calibration=calibration.measure(_against_the_rest(y, p, place)))
        for place, cls in enumerate(spec.target.classes)
    )


def _against_the_rest(y: NDArray[np.int64], p: NDArray[np.float64], place: int) -> event.Event:
    return event.Event(y == place, p.argmax(axis=1) == place, p[:, place])


def _smooth(spec: DatasetSpec, y: NDArray[np.int64], p: NDArray[np.float64]) -> tuple[SmoothCalibration, ...]:
    """Return the calibration curve of the event of two classes, or of each class against the rest."""
    places = [1] if spec.is_binary else range(len(spec.target.classes))
    curves = (smoothing.smooth(spec.target.classes[place].name, _against_the_rest(y, p, place)) for place in places)
    return tuple(curve for curve in curves if curve)


def _no_information(y: NDArray[np.int64]) -> Estimate:
    return proportion(int(np.bincount(y).max()), len(y))


def _labels(spec: DatasetSpec, y: NDArray[np.int64], out_of_fold: NDArray[np.float64]) -> SuspectLabels:
    suspects, gate = robustness.suspects(y, out_of_fold), spec.gate(SUSPECT_LABELS)
    return SuspectLabels(rows=len(y), suspects=proportion(int(suspects.sum()), len(y)), limit=gate and gate.bound)


def _explanation(
    spec: DatasetSpec, model: Trained, every: NDArray[np.float64], shown: NDArray[np.float64], seed: int
) -> Explanation:
    """Return mean absolute Shapley values over hold-out patients, and one invented patient explained."""
    pipeline = model.pipeline(spec)
    known = reference.describe(spec, every, pipeline.predict_proba(every).astype(np.float32))
    explainer = Explainer(spec, known, pipeline.predict_proba, seed=seed)
    explained = np.stack([explainer.explain(row).values for row in shown[:EXPLAINED_ROWS]])
    # Two classes mirror each other; of more, every class counts the same.
    size = np.abs(explained).mean(axis=(0, 2))
    return Explanation(
        rows=len(explained),
        overall=tuple(MeanEffect(label=spec.columns[i].label, mean=float(size[i])) for i in np.argsort(-size)),
        example=_example(spec, explainer, pipeline.predict_proba(explainer.background)),
    )


def _example(spec: DatasetSpec, explainer: Explainer, p: NDArray[np.float64]) -> ExplainedPatient:
    """Explain the background patient who most probably belongs to the last class."""
    invented = explainer.background[int(p[:, -1].argmax())]
    one = explainer.explain(invented)
    k = int(one.probability.argmax())
    return ExplainedPatient(
        outcome=spec.target.classes[k].name,
        base=float(one.base[k]),
        probability=float(one.probability[k]),
        values=tuple(
            Contribution(
                label=spec.columns[i].label,
                shown=spec.columns[i].format_value(float(invented[i])),
                value=float(one.values[i, k]),
                error=float(one.errors[i, k]),
            )
            for i in np.argsort(-np.abs(one.values[:, k]))
        ),
    )


def _others(
    spec: DatasetSpec, model: Trained, train: Part, test: Part, seed: int, level: Level, groups: Groups | None
) -> tuple[tuple[AblationFigures, ...], tuple[Site | MissingSite, ...]]:
    """Return what ablated models score, and how all models do at the other sites."""
    scores: dict[str, external.Score] = {"full": lambda matrix: model.probabilities(spec, matrix)}
    ablations = []
    for each in spec.evidence.ablations:
        ablated = ablation.AblatedModel(spec, each, model.family, model.record.parameters, seed)
        if level == "full":
            ablated.search(train, groups)
        scores[each.name] = ablated.fit(train).probabilities
        validated = ablated.cross_validate(train, spec.selection.repeats, groups).intervals if level == "full" else None
        ablations.append(
            AblationFigures(
                name=each.name,
                without=tuple(spec.by_name[name].label for name in each.without),
                test=metrics.score_all(test[1], ablated.probabilities(test[0])),
                cross_validation=validated,
            )
        )
    sites = external.sites(spec, scores, seed, download=level == "full")
    for site in sites:
        said = site.missing if isinstance(site, MissingSite) else f"{site.rows} rows"
        _log.info("outside: %s: %s", site.name, said)
    return tuple(ablations), sites
