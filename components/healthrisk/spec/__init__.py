"""What a table means, as data: columns, outcome, sources, rules and gates, read from YAML. Imports the root only."""

from healthrisk.spec.document import (
    FAMILIES,
    LOWER_IS_BETTER,
    Baseline,
    Column,
    DatasetSpec,
    Fairness,
    Family,
    Gate,
    Metric,
    Reduced,
    Rule,
    Source,
    builtin_names,
    is_better,
    load,
)

__all__ = [
    "FAMILIES",
    "LOWER_IS_BETTER",
    "Baseline",
    "Column",
    "DatasetSpec",
    "Fairness",
    "Family",
    "Gate",
    "Metric",
    "Reduced",
    "Rule",
    "Source",
    "builtin_names",
    "is_better",
    "load",
]
