"""The source attributes of a predictive intervention, as HTI-1 names them (45 CFR 170.315(b)(11)(iv)(B)), as JSON.

What a run knows is computed, what only people know comes out of the spec's `study`, and the rest is null.
"""

from healthrisk.documents import Document
from healthrisk.evidence.documents import Site
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.spec import DatasetSpec, Gate
from healthrisk.spec.policies import family_name
from healthrisk.training.decision import Decision
from healthrisk.training.intervals import Estimate


class Attribute(Document):
    """One attribute: its paragraph of the rule, its name, and its value, None where there is none."""

    paragraph: str
    name: str
    value: str | None


class SourceAttributes(Document):
    """All 31 attributes of a model."""

    model: str
    rule: str
    attributes: tuple[Attribute, ...]


def describe(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> SourceAttributes:
    """Return the attributes of an evaluated winner."""
    groups: dict[int, Listed] = {
        1: _details(spec, decision),
        2: _purpose(spec),
        3: [
            ("Cautioned tasks, situations, populations", " ".join(spec.caveats)),
            ("Known risks and limitations", limits(decision)),
        ],
        4: _development(spec, decision, evidence),
        5: _process(spec, decision),
        6: _external_process(evidence),
        7: _performance(decision, evidence),
        8: _maintenance(),
        9: [
            (
                "Process and frequency of updates",
                "by schedule, on an alert, or by hand; champion and challenger are compared on the same rows",
            ),
            ("How soon performance is corrected", None),
        ],
    }
    return SourceAttributes(
        model=spec.name,
        rule="45 CFR 170.315(b)(11)(iv)(B)",
        attributes=tuple(
            Attribute(paragraph=f"({group})({_ROMAN[place]})", name=name, value=value or None)
            for group, listed in groups.items()
            for place, (name, value) in enumerate(listed)
        ),
    )


LIMIT = "The model shows how a risk model is built, checked and served. No decision about a patient may rest on it."
_ROMAN = ("i", "ii", "iii", "iv", "v")
Listed = list[tuple[str, str | None]]


def limits(decision: Decision) -> str:
    """Return what is known to be wrong with a model, with the gates that were overridden."""
    override = decision.override
    return LIMIT if override is None else f"{LIMIT} Gates {override.statement} ({'; '.join(override.gates)})."


def _details(spec: DatasetSpec, decision: Decision) -> Listed:
    classes = ", ".join(cls.name for cls in spec.target.classes)
    return [
        ("Developer and contact", ", ".join(filter(None, (spec.study.developer, spec.study.contact)))),
        ("Funding of the technical implementation", spec.study.funding),
        ("Value of the output", f"probabilities of {spec.target.label} ({classes}) by {family_name(decision.winner)}"),
        ("Kind of the output", "prediction"),
    ]


def _purpose(spec: DatasetSpec) -> Listed:
    return [
        ("Intended use", spec.study.intended_use),
        ("Intended patient population", spec.study.eligibility or spec.description),
        ("Intended users", spec.study.users),
        ("Intended role in decisions", "informs; it replaces no judgement"),
    ]


def _development(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord) -> Listed:
    sensitive = [spec.by_name[name].label for name in spec.sensitive]
    people = "; ".join(
        f"{column.label}: " + ", ".join(f"{row.group} {row.rows}" for row in column.groups)
        for column in evidence.fairness
    )
    return [
        ("Inclusion and exclusion criteria of the training data", spec.study.eligibility),
        ("Demographic variables used as inputs", ", ".join(sensitive)),
        ("Demographic representativeness of the data", people),
        ("Relevance of the training data", f"{decision.rows.train} rows for training. {spec.study.setting}".strip()),
    ]


def _process(spec: DatasetSpec, decision: Decision) -> Listed:
    gates = [_gate(spec, gate) for gate in spec.all_gates]
    rule = "nothing is registered that fails a gate" + (", but for this model" if decision.override else "")
    bias = "sensitivity and calibration are compared between groups, with intervals; nothing is weighted by group"
    return [
        ("Approach to fair outputs", f"{rule}: {'; '.join(gates)}"),
        ("Approach to manage bias", bias if spec.sensitive else None),
    ]


def _gate(spec: DatasetSpec, gate: Gate) -> str:
    label = gate.label_for(len(spec.target.classes))
    groups = f" by {spec.by_name[gate.column].label.lower()}" if gate.column else ""
    return f"{label}{groups} {gate.expected}"


def _sites(evidence: EvidenceRecord) -> list[Site]:
    return [site for site in (*evidence.sites, *evidence.left_out) if isinstance(site, Site)]


def _external_process(evidence: EvidenceRecord) -> Listed:
    sites = _sites(evidence)
    described = "; ".join(f"{site.label}: {site.rows} rows, {site.events} events" for site in sites)
    how = "the model as it is, or for a site of the table the same procedure on all others" if sites else None
    return [
        ("External data sources", described),
        ("Who tested externally", "the developer" if sites else None),
        ("Demographic representativeness of external data", None),
        ("External validation process", how),
    ]


def _performance(decision: Decision, evidence: EvidenceRecord) -> Listed:
    area = decision.winning.cross_validation.intervals["roc_auc"]
    slope = evidence.calibration.calibration_slope
    valid = f"ROC AUC {_words(area)} by cross-validation" + (f", calibration slope {_words(slope)}" if slope else "")
    fair = "; ".join(
        f"difference of sensitivity by {column.label.lower()} {_words(column.widest)}"
        for column in evidence.fairness
        if column.widest
    )
    outside = "; ".join(
        f"{site.label}: ROC AUC {_words(figures.roc_auc)}"
        for site in _sites(evidence)
        for figures in list(site.models.values())[:1]
        if figures.roc_auc
    )
    return [
        ("Validity in test data of the same source", valid),
        ("Fairness in test data of the same source", fair),
        ("Validity in external data", outside),
        ("Fairness in external data", None),
        ("Evaluations of its use on outcomes", None),
    ]


def _maintenance() -> Listed:
    watched = "an hourly comparison of live inputs, refusals and predictions with the training data"
    return [
        ("Monitoring of validity", watched),
        ("Validity in local data", None),
        ("Monitoring of fairness", None),
        ("Fairness in local data", None),
    ]


def _words(value: Estimate) -> str:
    return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"
