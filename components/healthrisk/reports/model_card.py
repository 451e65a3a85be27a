"""The applied model card of the Coalition for Health AI (mc-schema v0.2), as XML: computed where a run can."""

import json
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

from healthrisk.bundle.manifest import CodeOrigin
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.reports import attributes
from healthrisk.spec import DatasetSpec, GateResult
from healthrisk.spec.policies import family_name
from healthrisk.training.decision import Decision
from healthrisk.training.intervals import Estimate

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"
NOT_AVAILABLE = "Not available"
# A field's text, or the fields within it; several of one name are pairs.
Fields = list[tuple[str, "str | Fields"]]


CARD, ATTRIBUTES = "model-card.xml", "source-attributes.json"


def write_cards(
    spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord, origin: CodeOrigin, folder: Path
) -> None:
    """Write the card and the source attributes into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(render(spec, decision, evidence, origin.git_revision, date.today()), "utf-8")
    attributes.describe(spec, decision, evidence).write(folder / ATTRIBUTES)


def render(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord, revision: str, today: date) -> str:
    """Return the card of an evaluated winner."""
    fields: Fields = [
        *_identity(spec, decision, revision, today),
        *_use(spec, decision, evidence),
        ("TrustIngredients", _trust(spec, decision)),
        ("KeyMetrics", _metrics(spec, decision, evidence)),
        (
            "Resources",
            [("PeerReviewedPublications", spec.citation), ("PatientConsentOrDisclosure", spec.study.ethics)],
        ),
        ("Bibliography", spec.citation),
    ]
    ET.register_namespace("mc", NAMESPACE)
    root = ET.Element(f"{{{NAMESPACE}}}AppliedModelCard")
    _append(root, fields)
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _identity(spec: DatasetSpec, decision: Decision, revision: str, today: date) -> Fields:
    """Who made the model, which release of it this is, and what it is in short."""
    study = spec.study
    developer: Fields = [
        ("ModelName", spec.title),
        ("ModelDeveloper", study.developer),
        ("DeveloperContact", study.contact),
    ]
    release: Fields = [
        ("ReleaseStage", "Research"),
        ("ReleaseDate", today.isoformat()),
        ("ReleaseVersion", revision),
        ("GlobalAvailability", ""),
    ]
    keywords: Fields = [("Keyword", spec.name), ("Keyword", family_name(decision.winner))]
    summary: Fields = [("Summary", spec.description), ("Keywords", keywords)]
    return [("BasicInfo", developer), ("ReleaseInfo", release), ("ModelSummary", summary)]


def _use(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> Fields:
    """For whom the model is meant and how it is used, and what to beware of."""
    study = spec.study
    directions: Fields = [
        ("IntendedUseAndWorkflow", study.intended_use),
        ("PrimaryIntendedUsers", study.users),
        ("HowToUse", "KServe v1 and v2 inference; `python -m healthrisk predict` for tables"),
        ("TargetedPatientPopulation", study.eligibility),
        ("CautionedOutOfScopeSettings", " ".join(spec.caveats)),
    ]
    warnings: Fields = [
        ("KnownRisksAndLimitations", attributes.limits(decision)),
        ("KnownBiasesOrEthicalConsiderations", _biases(evidence)),
        ("ClinicalRiskLevel", ""),
    ]
    return [("UsesAndDirections", directions), ("Warnings", warnings)]


def _trust(spec: DatasetSpec, decision: Decision) -> Fields:
    transparency: Fields = [("FundingSource", spec.study.funding), ("StakeholdersConsulted", spec.study.involvement)]
    return [("AISystemFacts", _facts(spec, decision)), ("TransparencyInformation", transparency)]


def _append(parent: ET.Element, fields: Fields) -> None:
    for name, value in fields:
        element = ET.SubElement(parent, f"{{{NAMESPACE}}}{name}")
        if isinstance(value, str):
            element.text = value or NOT_AVAILABLE
        else:
            _append(element, value)


def _biases(evidence: EvidenceRecord) -> str:
    return " ".join(f"{column.label}: {column.reason}." for column in evidence.fairness)


def _facts(spec: DatasetSpec, decision: Decision) -> Fields:
    kinds = ", ".join(f"{column.label} ({column.kind})" for column in spec.columns)
    outcomes = ", ".join(cls.name for cls in spec.target.classes)
    rows = decision.rows
    return [
        ("OutcomesAndOutputs", f"{spec.target.label}: probabilities of {outcomes}, and a level of risk"),
        ("ModelType", family_name(decision.winner)),
        ("InputDataSource", spec.study.setting),
        ("OutputAndInputDataTypes", f"tabular: {kinds}"),
        ("DevelopmentDataCharacterization", f"{rows.train} rows for training, {rows.test} held out"),
        ("BiasMitigationApproaches", "groups are compared, with intervals and a gate; nothing is weighted by group"),
        ("OngoingMaintenance", "drift of live traffic is watched hourly; retraining by schedule or alert"),
    ]


def _metrics(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> Fields:
    scores = decision.winning.cross_validation.intervals
    useful: list[tuple[str, Estimate]] = [("ROC AUC", scores["roc_auc"])]
    useful += [(f"Net benefit from {point.threshold:g}", point.net_benefit) for point in evidence.operating]
    safe: list[tuple[str, Estimate]] = [("Brier score", scores["brier"])]
    if slope := evidence.calibration.calibration_slope:
        safe.append(("Calibration slope", slope))
    fair = [(f"Difference of sensitivity, {one.label.lower()}", one.widest) for one in evidence.fairness if one.widest]
    judged = {gate.gate.metric.name: gate for gate in decision.gates}
    return [
        (
            "UsefulnessUsabilityEfficacy",
            _metric(spec, "tells who has the event, to some use", useful, judged.get("net_benefit")),
        ),
        (
            "FairnessEquity",
            _metric(spec, "serves every group alike", fair, *(gate for gate in decision.gates if gate.group)),
        ),
        ("SafetyReliability", _metric(spec, "probabilities mean what they say", safe, judged.get("calibration_slope"))),
    ]


def _metric(spec: DatasetSpec, goal: str, estimates: list[tuple[str, Estimate]], *gates: GateResult | None) -> Fields:
    results: Fields = [
        (
            "MetricResult",
            [("Label", label), ("ValueJson", json.dumps(value.model_dump(include={"mean", "low", "high"})))],
        )
        for label, value in estimates
    ]
    return [
        ("MetricGoal", goal),
        ("Results", results or [("MetricResult", [("Label", NOT_AVAILABLE), ("ValueJson", "null")])]),
        ("Interpretation", "; ".join(gate.summary for gate in gates if gate)),
        ("TestType", "internal, by cross-validation and a hold-out"),
        ("TestingDataDescription", spec.study.setting or spec.description),
        ("ValidationProcessAndJustification", "every row is judged by a model fitted without it"),
    ]
