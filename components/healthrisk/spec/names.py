"""What families, metrics and gates are called where people read."""

from typing import Any

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "precision_macro": "Precision, macro",
    "recall_macro": "Recall, macro",
    "f1_macro": "F1, macro",
    "precision_weighted": "Precision, weighted",
    "recall_weighted": "Recall, weighted",
    "f1_weighted": "F1, weighted",
    "roc_auc": "ROC AUC",
    "brier": "Brier score",
    "log_loss": "Log loss",
}


def family_name(family: str) -> str:
    """Return a family's name as people write it."""
    return family.replace("_", " ")


def gate_name(gate: dict[str, Any]) -> str:
    """Return what a gate looks at, in words."""
    return str(gate.get("name") or METRIC_NAMES[gate["metric"]])


def verdict(gate: dict[str, Any]) -> str:
    """Return kept or missed, or abstains where a gate has too few cases to judge."""
    return str(gate.get("verdict") or ("kept" if gate["passed"] else "missed"))
