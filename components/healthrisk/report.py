"""The evaluation report: one self-contained page that a clinician can read and print."""

from typing import Any

from healthrisk import pages, plots
from healthrisk.spec import DatasetSpec

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


def figures(spec: DatasetSpec, decision: dict[str, Any], family: str) -> dict[str, bytes]:
    """Return the PNG plots of one model: ROC, calibration, confusion matrix and feature importance."""
    model = decision["models"][family]
    names = [cls.name for cls in spec.target.classes]
    drawn = {
        "roc": plots.roc(model["curves"]),
        "calibration": plots.calibration(model["curves"]),
        "confusion": plots.confusion(model["test"]["confusion"], names),
        "importance": plots.importance(model["importance"], decision["metric"]),
    }
    return {name: plots.to_png(figure) for name, figure in drawn.items()}


def render(spec: DatasetSpec, decision: dict[str, Any], data: dict[str, Any], provenance: dict[str, Any]) -> str:
    """Return the page for an evaluation, the record of the data and the provenance of the code."""
    models = decision["models"]
    measured = [
        (family_name(family), result["cross_validation"]["intervals"][decision["metric"]])
        for family, result in models.items()
    ]
    winner = models[decision["winner"]]
    shown = figures(spec, decision, decision["winner"])
    shown["intervals"] = plots.to_png(plots.intervals(measured, decision["metric"]))
    shown["curves"] = plots.to_png(plots.calibration(_by_model(models)))
    return pages.render(
        "report.html",
        spec=spec,
        decision=decision,
        winner=winner,
        metrics=[(key, name) for key, name in METRIC_NAMES.items() if key in winner["test"]],
        names=METRIC_NAMES,
        family_name=family_name,
        plots={name: plots.data_uri(png) for name, png in shown.items()},
        data=data,
        provenance=provenance,
    )


def _by_model(models: dict[str, Any]) -> dict[str, Any]:
    """The last class's curves of every model: with two classes, the event's."""
    return {family_name(family): list(result["curves"].values())[-1] for family, result in models.items()}
