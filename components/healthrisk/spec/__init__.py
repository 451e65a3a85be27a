"""What a table means, as data: columns, outcome, sources, rules and gates, read from YAML. Imports the root only."""

from healthrisk.spec.catalog import builtin_names, load, name_of
from healthrisk.spec.columns import Column
from healthrisk.spec.document import DatasetSpec
from healthrisk.spec.gate import Gate, GateResult, Verdict
from healthrisk.spec.metric import Metric
from healthrisk.spec.policies import FAMILIES, Ablation, Baseline, CsvFormat, Family, ForeignEncoding, Rule, Source

__all__ = [
    "FAMILIES",
    "Ablation",
    "Baseline",
    "Column",
    "CsvFormat",
    "DatasetSpec",
    "Family",
    "ForeignEncoding",
    "Gate",
    "GateResult",
    "Metric",
    "Rule",
    "Source",
    "Verdict",
    "builtin_names",
    "load",
    "name_of",
]
