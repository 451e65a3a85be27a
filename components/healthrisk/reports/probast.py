"""PROBAST+AI (BMJ 2025;388:e082505) by domain: what a run can answer of the risk of bias, and what only people can."""

from typing import Literal

from healthrisk.documents import Document
from healthrisk.evidence.documents import Site
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.spec import DatasetSpec

Judgement = Literal["low", "unclear", "high"]
NOT_SAID = "the spec does not say"


class Answer(Document):
    """A question of a domain, what answers it, and the risk of bias that follows."""

    domain: str
    question: str
    answer: str
    risk: Judgement


def answers(spec: DatasetSpec, evidence: EvidenceRecord, missing: int) -> tuple[Answer, ...]:
    """Return the answers, given how many values are missing in the table."""
    return (
        _said("Participants", "Source of the data, eligibility", spec.study.eligibility),
        _said("Predictors", "Defined alike for all, and known when the model is used", spec.study.intended_use),
        _said(
            "Outcome", "Defined and assessed alike for all, without knowledge of the predictors", spec.study.assessment
        ),
        _size(evidence),
        _judged(
            "Numbers kept as numbers, no predictor chosen by its single association",
            "numbers are scaled, never cut; every column of the spec is used",
            "low",
        ),
        _missing(evidence, missing),
        _leaks(spec, evidence),
        _optimism(evidence),
        _performance(evidence),
        _elsewhere(evidence),
        _fairness(spec, evidence),
    )


def _said(domain: str, question: str, text: str) -> Answer:
    """A field of the study answers for itself, and only a person can judge it."""
    return Answer(domain=domain, question=question, answer=text or NOT_SAID, risk="unclear")


def _judged(question: str, answer: str, risk: Judgement) -> Answer:
    """Answer a question of the analysis, which a run can judge by itself."""
    return Answer(domain="Analysis", question=question, answer=answer, risk=risk)


def _size(evidence: EvidenceRecord) -> Answer:
    size = evidence.sample_size
    question = "Enough participants with the outcome"
    if size is None:
        return _judged(question, "only one outcome occurs", "high")
    asked = f"{size.fewest} to {size.most} are asked for"
    words = f"{size.patients} patients, {size.events_per_parameter:.1f} events a parameter; {asked}"
    risk: Judgement = "low" if size.patients >= size.most else "unclear" if size.patients >= size.fewest else "high"
    return _judged(question, words, risk)


def _missing(evidence: EvidenceRecord, missing: int) -> Answer:
    question = "Missing data handled appropriately"
    if not missing:
        return _judged(question, "no value is missing", "low")
    if not evidence.imputations:
        words = "single imputation by median or commonest code; EVIDENCE=full adds a sensitivity analysis"
        return _judged(question, words, "unclear")
    changes = [one.effects["roc_auc"].change for one in evidence.imputations[1:]]
    harmless = all(change.low <= 0 <= change.high for change in changes)
    words = "other ways make " + ("no difference that is shown" if harmless else "a difference: see missing data")
    return _judged(question, words, "low" if harmless else "unclear")


def _leaks(spec: DatasetSpec, evidence: EvidenceRecord) -> Answer:
    if spec.group:
        kept = f"rows of one {spec.group} stand in one part"
    elif spec.validation.duplicates.action == "ignore":
        kept = "equal rows count as different people's"
    else:
        kept = "equal rows stand in one part"
    words = f"{kept}; preprocessing is fitted in each fold"
    repeated = f"; {evidence.repeated} rows of the hold-out equal a training row" if evidence.repeated else ""
    question = "No leakage between training and test"
    return _judged(question, words + repeated, "unclear" if evidence.repeated else "low")


def _optimism(evidence: EvidenceRecord) -> Answer:
    nested = evidence.nested is not None
    words = (
        "nested cross-validation"
        if nested
        else "cross-validation by other folds than the search's; EVIDENCE=full nests it"
    )
    question = "Overfitting and tuning accounted for"
    return _judged(question, words, "low" if nested else "unclear")


def _performance(evidence: EvidenceRecord) -> Answer:
    slope = evidence.calibration.calibration_slope
    holds = slope is not None and slope.low <= 1 <= slope.high
    words = (
        "the interval of the calibration slope holds 1"
        if holds
        else "the interval of the calibration slope does not hold 1"
    )
    question = "Discrimination, calibration and net benefit evaluated"
    return _judged(question, words, "low" if holds else "high")


def _elsewhere(evidence: EvidenceRecord) -> Answer:
    sites = [site.label for site in (*evidence.sites, *evidence.left_out) if isinstance(site, Site)]
    question = "Evaluated on patients of other places"
    return _judged(question, ", ".join(sites) or "no other place is known", "low" if sites else "high")


def _fairness(spec: DatasetSpec, evidence: EvidenceRecord) -> Answer:
    question = "Performance in groups of people"
    if not spec.sensitive:
        return _judged(question, "no sensitive column is named, so nothing can be judged", "high")
    unsettled = [
        each.label
        for each in evidence.fairness
        if each.widest is None or any(gate.verdict != "passed" for gate in each.gates)
    ]
    words = (
        f"too few cases to tell, or a difference: {', '.join(unsettled)}"
        if unsettled
        else "no difference beyond the bound"
    )
    return _judged(question, words, "unclear" if unsettled else "low")
