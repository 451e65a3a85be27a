"""What a decision says, in a screenful of plain text."""

from healthrisk.spec import DatasetSpec
from healthrisk.spec.metric import ACCURACY, BRIER
from healthrisk.spec.policies import family_name
from healthrisk.training.decision import Decision


def summarize(spec: DatasetSpec, decision: Decision) -> list[str]:
    """Return the lines: rows, each model's cross-validated metrics, the winner, the rule that named it, its gates."""
    return [
        f"{spec.title}: {decision.rows.train} rows for training, {decision.rows.test} held out",
        *_models(decision),
        "",
        f"winner    {family_name(decision.winner)}",
        f"rule      {decision.rule}, which is {family_name(decision.best)}'s",
        *_gates(decision),
    ]


def _models(decision: Decision) -> list[str]:
    shown = list(dict.fromkeys([decision.metric, ACCURACY, BRIER]))
    rows = ["", f"{'cross-validated, 95 % interval':<32}" + "".join(f"{metric.label:<26}" for metric in shown)]
    for family, figures in decision.models.items():
        intervals = [figures.cross_validation.intervals[metric.name] for metric in shown]
        cells = [f"{i.mean:.3f} ({i.low:.3f} to {i.high:.3f})" for i in intervals]
        rows.append(f"  {family_name(family):<30}" + "".join(f"{cell:<26}" for cell in cells))
    return [row.rstrip() for row in rows]


def _gates(decision: Decision) -> list[str]:
    said = [f"gates {decision.override.statement}"] if decision.override else []
    lines = [gate.summary for gate in decision.gates] + said
    return [f"{'' if place else 'gates':<10}{line}" for place, line in enumerate(lines)]
