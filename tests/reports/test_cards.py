"""The report for machines: CHAI's model card in its schema's order, HTI-1's 31 source attributes."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from healthrisk.reports import model_card
from tests.reports.test_model_report import artifact

# The elements of mc-schema v0.2 that are not optional, in their order.
ELEMENTS = {
    "AppliedModelCard": "BasicInfo ReleaseInfo ModelSummary UsesAndDirections Warnings TrustIngredients KeyMetrics"
    " Resources Bibliography",
    "BasicInfo": "ModelName ModelDeveloper DeveloperContact",
    "ReleaseInfo": "ReleaseStage ReleaseDate ReleaseVersion GlobalAvailability",
    "UsesAndDirections": "IntendedUseAndWorkflow PrimaryIntendedUsers HowToUse TargetedPatientPopulation"
    " CautionedOutOfScopeSettings",
    "Warnings": "KnownRisksAndLimitations KnownBiasesOrEthicalConsiderations ClinicalRiskLevel",
    "TrustIngredients": "AISystemFacts TransparencyInformation",
    "AISystemFacts": "OutcomesAndOutputs ModelType InputDataSource OutputAndInputDataTypes"
    " DevelopmentDataCharacterization BiasMitigationApproaches OngoingMaintenance",
    "TransparencyInformation": "FundingSource StakeholdersConsulted",
    "KeyMetrics": "UsefulnessUsabilityEfficacy FairnessEquity SafetyReliability",
    "SafetyReliability": "MetricGoal Results Interpretation TestType TestingDataDescription"
    " ValidationProcessAndJustification",
    "Resources": "PeerReviewedPublications PatientConsentOrDisclosure",
}


def test_the_model_card_has_the_schema_s_elements_in_order(home: Path) -> None:
    root = ET.parse(artifact(home, "evidence", "cards") / model_card.CARD).getroot()
    space = f"{{{model_card.NAMESPACE}}}"
    elements = {element.tag.removeprefix(space): element for element in root.iter()}
    for name, children in ELEMENTS.items():
        assert [child.tag.removeprefix(space) for child in elements[name]] == children.split(), name
    results = root.findall(f".//{space}SafetyReliability//{space}MetricResult")
    labels = {result[0].text: json.loads(result[1].text or "") for result in results}
    assert labels["Calibration slope"]["low"] <= 1 <= labels["Calibration slope"]["high"]
    assert all(element.text for element in root.iter() if not len(element))


def test_the_source_attributes_are_all_31(home: Path) -> None:
    document = json.loads((artifact(home, "evidence", "cards") / model_card.ATTRIBUTES).read_text())
    attributes = document["attributes"]
    assert len(attributes) == 31
    assert [sum(one["paragraph"].startswith(f"({group})") for one in attributes) for group in range(1, 10)] == [
        *(4, 4, 2, 4, 2, 4, 5, 4, 2)
    ]
    by_paragraph = {one["paragraph"]: one["value"] for one in attributes}
    assert "ROC AUC 0.9" in by_paragraph["(7)(i)"]
    assert by_paragraph["(7)(v)"] is None


def test_the_cards_lie_beside_the_report(home: Path) -> None:
    for name in (model_card.CARD, model_card.ATTRIBUTES):
        (card,) = home.glob(f"reports/*-{name}")
        assert card.read_text() == (artifact(home, "evidence", "cards") / name).read_text()
