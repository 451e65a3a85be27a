"""What a table means, as data: columns, outcome, sources, rules and gates, read from YAML. Imports the root only."""

from healthrisk.spec.columns import Column
from healthrisk.spec.document import DatasetSpec, builtin_names, load
from healthrisk.spec.gate import Gate, GateResult, Verdict
from healthrisk.spec.metric import Metric
from healthrisk.spec.policies import FAMILIES, Baseline, Fairness, Family, Recoding, Reduced, Rule, Source

__all__ = [
    "FAMILIES",
    "Baseline",
    "Column",
    "DatasetSpec",
    "Fairness",
    "Family",
    "Gate",
    "GateResult",
    "Metric",
    "Recoding",
    "Reduced",
    "Rule",
    "Source",
    "Verdict",
    "builtin_names",
    "load",
]
