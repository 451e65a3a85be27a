"""The evaluation report: one self-contained page that a clinician can read and print."""

from functools import partial
from pathlib import Path

from healthrisk.bundle.manifest import CodeOrigin
from healthrisk.data.ingest import IngestRecord
from healthrisk.evidence.documents import Site
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.reports import evidence_plots, pages, plots, probast
from healthrisk.spec import DatasetSpec, Family
from healthrisk.spec.metric import BY_NAME, REPORTED
from healthrisk.spec.policies import family_name
from healthrisk.spec.study import Study
from healthrisk.training.decision import Curves, Decision, ModelFigures
from healthrisk.training.intervals import Estimate
from healthrisk.training.search import DEFAULT_SEARCH

SECTIONS = (
    ("verdict", "Verdict"),
    ("data", "Data"),
    ("models", "Models"),
    ("nested", "Validation inside"),
    ("holdout", "Hold-out"),
    ("discrimination", "Discrimination"),
    ("calibration", "Calibration and benefit"),
    ("subgroups", "Subgroups"),
    ("outside", "Validation outside"),
    ("simpler", "Simpler things"),
    ("explanation", "Explanation"),
    ("robustness", "Robustness"),
    ("limits", "Limits of use"),
    ("probast", "PROBAST+AI"),
    ("tripod", "TRIPOD+AI"),
    ("provenance", "Provenance"),
)


def drawings(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> dict[str, plots.Drawing]:
    """Return what draws every plot: of each model, by FAMILY/NAME, and of the page alone, by NAME."""
    return _of_models(spec, decision) | _of_page(spec, decision, evidence)


def _of_models(spec: DatasetSpec, decision: Decision) -> dict[str, plots.Drawing]:
    """ROC, calibration, confusion matrix and feature importance of each model."""
    names = [cls.name for cls in spec.target.classes]
    label = decision.metric.label_for(len(names))
    drawn: dict[str, plots.Drawing] = {}
    for family, model in decision.models.items():
        drawn |= {
            f"{family}/roc": partial(plots.roc, model.curves),
            f"{family}/calibration": partial(plots.calibration, model.curves),
            f"{family}/confusion": partial(plots.confusion, model.test.confusion, names),
            f"{family}/importance": partial(plots.importance, model.importance, label),
        }
    return drawn


def save_plots(pictures: dict[str, bytes], folder: Path) -> None:
    """Write the models' plots to FOLDER/FAMILY/NAME.png."""
    for name, png in pictures.items():
        path = folder / f"{name}.png"
        if path.parent != folder:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png)


def render(
    spec: DatasetSpec,
    decision: Decision,
    evidence: EvidenceRecord,
    data: IngestRecord,
    provenance: CodeOrigin,
    pictures: dict[str, bytes],
) -> str:
    """Return the page for an evaluation, its evidence, the data's record, the code's provenance and what was drawn.

    `pictures` are PNG by the names of `drawings`.
    """
    models, winner = decision.models, decision.winning
    return pages.render(
        "report.html",
        sections=_sections(evidence),
        spec=spec,
        decision=decision,
        evidence=evidence,
        winner=winner,
        metrics=[metric for metric in REPORTED if metric.name in winner.test.scores],
        names={name: metric.label_for(len(spec.target.classes)) for name, metric in BY_NAME.items()},
        cross_validated={family: figures.cross_validation for family, figures in models.items()},
        family_name=family_name,
        searched={family: spec.search.get(family, DEFAULT_SEARCH[family]) for family in models},
        study=_study(spec),
        probast=probast.answers(spec, evidence, sum(data.missing.values())),
        described_sites=[site for site in (*evidence.sites, *evidence.left_out) if isinstance(site, Site)],
        weighted=family_name(decision.winner) if winner.parameters.get("class_weight") else "",
        plots={name.removeprefix(f"{decision.winner}/"): plots.data_uri(png) for name, png in pictures.items()},
        data=data,
        provenance=provenance,
    )


def _of_page(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> dict[str, plots.Drawing]:
    """All models side by side, and the evidence on the winner."""
    metric, models = decision.metric, decision.models
    measured = [
        (family_name(family), figures.cross_validation.intervals[metric.name]) for family, figures in models.items()
    ]
    title = f"Cross-validated {metric.label_for(len(spec.target.classes))}, 95 % interval"
    drawn: dict[str, plots.Drawing] = {
        "intervals": partial(plots.intervals, measured, title),
        "curves": partial(plots.calibration, _by_model(models)),
        "decision_curve": partial(evidence_plots.decision_curve, evidence.net_benefit),
        "learning_curve": partial(evidence_plots.learning_curve, evidence.learning_curve),
        "explanation": partial(evidence_plots.explanation, evidence.explanation.overall),
        "patient": partial(evidence_plots.patient, evidence.explanation.example),
    }
    drawn |= {f"smooth {curve.name}": partial(evidence_plots.smooth_calibration, curve) for curve in evidence.smooth}
    if areas := _areas(decision, evidence):
        drawn["areas"] = partial(plots.intervals, areas, "ROC AUC, 95 % interval")
    return drawn


def _study(spec: DatasetSpec) -> list[tuple[str, str]]:
    """The study's fields, as name and text."""
    names = {
        "assessment": "Outcome, how assessed",
        "sharing": "Sharing of data and code",
        "involvement": "Involvement of patients",
    }
    return [
        (names.get(name, name.replace("_", " ").capitalize()), getattr(spec.study, name)) for name in Study.model_fields
    ]


def _sections(evidence: EvidenceRecord) -> list[tuple[str, str]]:
    """The sections of the page, as anchor and title, without those that have nothing to say."""
    absent = set()
    if evidence.nested is None:
        absent.add("nested")
    if not (evidence.baselines or evidence.ablations):
        absent.add("simpler")
    return [section for section in SECTIONS if section[0] not in absent]


def _areas(decision: Decision, evidence: EvidenceRecord) -> list[tuple[str, Estimate]]:
    """The area under the ROC curve inside, in every group and at every site, where it exists."""
    areas: list[tuple[str, Estimate | None]] = [
        ("Cross-validation", decision.winning.cross_validation.intervals["roc_auc"])
    ]
    areas += [(f"{column.label}: {row.group}", row.roc_auc) for column in evidence.fairness for row in column.groups]
    sites = [site for site in evidence.sites if isinstance(site, Site)]
    areas += [
        (f"{site.label}, {name} model", figures.roc_auc) for site in sites for name, figures in site.models.items()
    ]
    return [(name, area) for name, area in areas if area]


def _by_model(models: dict[Family, ModelFigures]) -> dict[str, Curves]:
    """The last class's curves of every model: with two classes, the event's."""
    return {family_name(family): list(figures.curves.values())[-1] for family, figures in models.items()}
