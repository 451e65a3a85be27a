"""PROBAST+AI (BMJ 2025;388:e082505) by domain: what a run can answer of the risk of bias, and what only people can."""

from typing import Literal

from healthrisk.documents import Document
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
        Answer(
            domain="Analysis",
            question="Numbers kept as numbers, no predictor chosen by its single association",
            answer="numbers are scaled, never cut; every column of the spec is used",
            risk="low",
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


def _size(evidence: EvidenceRecord) -> Answer:
    size = evidence.sample_size
    about: dict[str, str] = {"domain": "Analysis", "question": "Enough participants with the outcome"}
    if size is None:
        return Answer(**about, answer="only one outcome occurs", risk="high")
    asked = f"{size.fewest} to {size.most} are asked for"
    words = f"{size.patients} patients, {size.events_per_parameter:.1f} events a parameter; {asked}"
    risk: Judgement = "low" if size.patients >= size.most else "unclear" if size.patients >= size.fewest else "high"
    return Answer(**about, answer=words, risk=risk)


def _missing(evidence: EvidenceRecord, missing: int) -> Answer:
    about: dict[str, str] = {"domain": "Analysis", "question": "Missing data handled appropriately"}
    if not missing:
        return Answer(**about, answer="no value is missing", risk="low")
    if not evidence.imputations:
        words = "single imputation by median or commonest code; EVIDENCE=full adds a sensitivity analysis"
        return Answer(**about, answer=words, risk="unclear")
    changes = [one.effects["roc_auc"].change for one in evidence.imputations[1:]]
    harmless = all(change.low <= 0 <= change.high for change in changes)
    words = "other ways make " + ("no difference that is shown" if harmless else "a difference: see missing data")
    return Answer(**about, answer=words, risk="low" if harmless else "unclear")


def _leaks(spec: DatasetSpec, evidence: EvidenceRecord) -> Answer:
    kept = [f"rows of one {spec.group}" if spec.group else "equal rows"]
    words = f"{' and '.join(kept)} stand in one part; preprocessing is fitted in each fold"
    repeated = f"; {evidence.repeated} rows of the hold-out equal a training row" if evidence.repeated else ""
    about: dict[str, str] = {"domain": "Analysis", "question": "No leakage between training and test"}
    return Answer(**about, answer=words + repeated, risk="unclear" if evidence.repeated else "low")


def _optimism(evidence: EvidenceRecord) -> Answer:
    nested = evidence.nested is not None
    words = (
        "nested cross-validation"
        if nested
        else "cross-validation by other folds than the search's; EVIDENCE=full nests it"
    )
    about: dict[str, str] = {"domain": "Analysis", "question": "Overfitting and tuning accounted for"}
    return Answer(**about, answer=words, risk="low" if nested else "unclear")


def _performance(evidence: EvidenceRecord) -> Answer:
    slope = evidence.calibration.calibration_slope
    holds = slope is not None and slope.low <= 1 <= slope.high
    words = (
        "the interval of the calibration slope holds 1"
        if holds
        else "the interval of the calibration slope does not hold 1"
    )
    about: dict[str, str] = {"domain": "Analysis", "question": "Discrimination, calibration and net benefit evaluated"}
    return Answer(**about, answer=words, risk="low" if holds else "high")


def _elsewhere(evidence: EvidenceRecord) -> Answer:
    sites = [site.label for site in (*evidence.sites, *evidence.left_out) if not hasattr(site, "missing")]
    about: dict[str, str] = {"domain": "Analysis", "question": "Evaluated on patients of other places"}
    return Answer(**about, answer=", ".join(sites) or "no other place is known", risk="low" if sites else "high")


def _fairness(spec: DatasetSpec, evidence: EvidenceRecord) -> Answer:
    about: dict[str, str] = {"domain": "Analysis", "question": "Performance in groups of people"}
    if not spec.sensitive:
        return Answer(**about, answer="no sensitive column is named, so nothing can be judged", risk="high")
    open_ = [
        each.label for each in evidence.fairness if each.widest is None or (each.gate and each.gate.verdict != "passed")
    ]
    words = f"too few cases to tell, or a difference: {', '.join(open_)}" if open_ else "no difference beyond the bound"
    return Answer(**about, answer=words, risk="unclear" if open_ else "low")
