"""All evidence on a winner, and the gates that it adds to those on the hold-out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from healthrisk.config import Level
from healthrisk.evidence import (
    ablation,
    calibration,
    cohort,
    conformal,
    event,
    explanation,
    external,
    fairness,
    gates,
    imputation,
    learning_curve,
    linear_terms,
    nested_cv,
    operating_points,
    robustness,
    sample_size,
    smoothing,
)
from healthrisk.evidence.clinical_documents import SmoothCalibration
from healthrisk.evidence.documents import AblationFigures, ClassCalibration, MissingSite, Site
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.evidence.scale_documents import RungSize, Sampled
from healthrisk.spec import DatasetSpec, Family, GateResult
from healthrisk.spec.metric import SITE_ROC_AUC, SUSPECT_LABELS
from healthrisk.training import sampling, threads
from healthrisk.training.decision import Decision
from healthrisk.training.grouping import Groups
from healthrisk.training.intervals import Estimate, proportion
from healthrisk.training.record import SearchRecord
from healthrisk.training.sampling import Part
from healthrisk.training.train import Trained

NESTED_REPEATS = 2
STRESS_REPEATS = 2
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
    the hold-out's, so that no row is judged by a model that has seen it; of large parts on the judged rows. `groups`
    and `places` say which rows belong together and where they are from [training rows, then the hold-out's].
    """
    chosen = next(model for model in models if model.family == winner)
    held_out = sampling.judged(spec, test[1], seed)
    rows = np.concatenate([chosen.judged, len(train[1]) + held_out])
    case = _Case(
        spec,
        chosen,
        sampling.take(train, chosen.judged),
        sampling.take(test, held_out),
        seed,
        level,
        None if groups is None else groups[rows],
        None if places is None else places[rows],
    )
    with threads.for_rows(len(rows)):
        record = _gather_quick(case, train, test, {model.family: model.record.search for model in models})
        return _add_full(case, [model.family for model in models], record) if level == "full" else record


@dataclass(frozen=True)
class _Case:
    """The winner, and the rows that it is judged on: of large parts a sample."""

    spec: DatasetSpec
    model: Trained
    train: Part
    test: Part
    seed: int
    level: Level
    groups: Groups | None
    places: NDArray[np.object_] | None

    @cached_property
    def rows(self) -> Part:
        """Every row, those of training first."""
        return np.vstack([self.train[0], self.test[0]]), np.concatenate([self.train[1], self.test[1]])

    @property
    def training_groups(self) -> Groups | None:
        """Which of the training rows belong together."""
        return None if self.groups is None else self.groups[: len(self.train[1])]

    @cached_property
    def refitted(self) -> sampling.Positions:
        """The rows that evidence with fits of its own is gathered on."""
        return sampling.refitted(self.spec, self.rows[1], self.seed)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities [rows, classes] of models that have not seen the row."""
        return np.vstack([self.model.out_of_fold, self.model.probabilities(self.spec, self.test[0])])


def _gather_quick(case: _Case, train: Part, test: Part, searches: dict[Family, SearchRecord]) -> EvidenceRecord:
    spec, model, rows, p, seed = case.spec, case.model, case.rows, case.probabilities, case.seed
    judged = event.binarize(spec, rows[1], p)
    explained = explanation.describe(spec, model, rows[0], p, case.test[0], seed)
    _log.info("%s patients are explained", explained.rows)
    ablations, sites = _ablate(case)
    return EvidenceRecord(
        level=case.level,
        event=event.name(spec),
        rows=len(p),
        cohort=cohort.describe(spec, rows[0], judged),
        repeated=cohort.repeated(train, test),
        calibration=calibration.measure(judged),
        calibration_by_class=_by_class(spec, rows[1], p),
        gates=tuple(gates.judge(gates.Judged(spec, rows[1], p, rows[0]))),
        net_benefit=calibration.net_benefit(judged),
        fairness=fairness.audit(spec, rows[0], judged, seed),
        intersections=fairness.intersections(spec, rows[0], judged, seed),
        no_information=_no_information(rows[1]),
        sample_size=sample_size.describe(spec, len(train[1]), event.binarize(spec, case.train[1], model.out_of_fold)),
        operating=operating_points.points(spec, rows[1], p),
        smooth=_smooth(spec, rows[1], p),
        sampled=_sampled(case, train, test, searches),
        learning_curve=learning_curve.describe(spec, model, case.train, case.test, seed, case.training_groups),
        sets=conformal.describe(spec, *rows, p, seed, case.groups),
        linear=linear_terms.describe(spec, model),
        baselines=ablation.baselines(spec, case.test, rows),
        labels=robustness.suspect_labels(spec, case.train[1], model.out_of_fold),
        explanation=explained,
        ablations=ablations,
        sites=sites,
        left_out=external.left_out(spec, model.family, model.record.parameters, rows, case.places, seed, case.groups),
    )


def _ablate(case: _Case) -> tuple[tuple[AblationFigures, ...], tuple[Site | MissingSite, ...]]:
    """Return what ablated models score, and how all models do at the other sites."""
    spec, model, full = case.spec, case.model, case.level == "full"
    scores: dict[str, external.Score] = {"full": lambda matrix: model.probabilities(spec, matrix)}
    ablations = []
    for each in spec.evidence.ablations:
        ablated = ablation.AblatedModel(spec, each, model.family, model.record.parameters, case.seed)
        figures = ablation.measure(ablated, case.train, case.test, case.training_groups, full=full)
        scores[each.name] = ablated.probabilities
        ablations.append(figures)
    sites = external.sites(spec, scores, case.seed, download=full)
    for site in sites:
        said = site.missing if isinstance(site, MissingSite) else f"{site.rows} rows"
        _log.info("outside: %s: %s", site.name, said)
    return tuple(ablations), sites


def _add_full(case: _Case, families: Sequence[Family], record: EvidenceRecord) -> EvidenceRecord:
    """Return the evidence with what takes fits of its own: robustness and nested cross-validation."""
    spec, seed = case.spec, case.seed
    rows = sampling.take(case.rows, case.refitted)
    groups = None if case.groups is None else case.groups[case.refitted]
    winner = case.model.family, case.model.record.parameters
    stress = robustness.stress(spec, *winner, rows, seed, STRESS_REPEATS, groups)
    detection = robustness.detect(spec, *winner, rows, seed, groups)
    imputations = imputation.compare(spec, *winner, rows, seed, STRESS_REPEATS, groups)
    _log.info("%s conditions of wrong or missing data are measured", len(stress) - 1)
    nested = nested_cv.nested(spec, families, rows, seed, NESTED_REPEATS, groups)
    full = {"stress": stress, "detection": detection, "imputations": imputations, "nested": nested}
    return record.model_copy(update=full)


def add_gates(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> Decision:
    """Return the decision with the evidence's gates. They are the same at every level, and so is the bundle."""
    added = [*evidence.gates]
    if gate := spec.gate(SUSPECT_LABELS):
        suspects = evidence.labels.suspects.mean
        added.append(GateResult(gate=gate, value=suspects, verdict=gate.judge(suspects)))
    if gate := spec.gate(SITE_ROC_AUC):
        added.append(external.judge(spec, gate, evidence.left_out))
    added += [gate for comparison in evidence.fairness for gate in comparison.gates]
    return decision.model_copy(update={"gates": (*decision.gates, *added)})


def _sampled(case: _Case, train: Part, test: Part, searches: dict[Family, SearchRecord]) -> Sampled:
    return Sampled(
        reduced=len(train[1]) > case.spec.scale.whole_rows,
        searched={
            family: tuple(RungSize(candidates=len(rung.candidates), rows=rung.rows) for rung in search.rungs)
            for family, search in searches.items()
        },
        train=len(train[1]),
        test=len(test[1]),
        judged_train=len(case.train[1]),
        judged_test=len(case.test[1]),
        refitted=len(case.refitted),
    )


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
