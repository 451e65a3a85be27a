"""What a run found, in a screenful."""

import json
from pathlib import Path

from healthrisk import atomic
from healthrisk.config import settings
from healthrisk.spec import DatasetSpec
from healthrisk.spec.metric import ACCURACY, BRIER
from healthrisk.spec.policies import family_name
from healthrisk.training.decision import Decision


def of_run(spec: DatasetSpec, folder: Path) -> str:
    """Return the summary of a finished run, given its folder; the reports are put where they stay."""
    decision = Decision.read(folder / "evidence" / "judged")
    registration = json.loads((folder / "register" / "registration").read_text("utf-8"))
    name = f"{spec.name}-{registration['digest'][:12]}"
    reports = settings().home / "reports"
    report, table = reports / f"{name}.html", reports / f"{name}-table.html"
    atomic.write_text(report, (folder / "evidence" / "page").read_text("utf-8"))
    atomic.write_text(table, (folder / "validate" / "page").read_text("utf-8"))
    lines = [
        "",
        f"{spec.title}: {decision.rows.train} rows for training, {decision.rows.test} held out",
        *_models(decision),
        "",
        f"winner    {family_name(decision.winner)}",
        f"rule      {decision.rule}, which is {family_name(decision.best)}'s",
        *_gates(decision),
        "version   {name} {version}, {alias}: {reason}".format(**registration),
        f"bundle    {registration['bundle']}",
        f"report    {report}",
        f"table     {table}",
        f"MLflow    {settings().tracking_uri}",
    ]
    return "\n".join(lines)


def _models(decision: Decision) -> list[str]:
    shown = list(dict.fromkeys([decision.metric, ACCURACY, BRIER]))
    rows = ["", f"{'cross-validated, 95 % interval':<32}" + "".join(f"{metric.label:<26}" for metric in shown)]
    for family, figures in decision.models.items():
        intervals = [figures.cross_validation.intervals[metric.name] for metric in shown]
        cells = [f"{i.mean:.3f} ({i.low:.3f} to {i.high:.3f})" for i in intervals]
        rows.append(f"  {family_name(family):<30}" + "".join(f"{cell:<26}" for cell in cells))
    return [row.rstrip() for row in rows]


def _gates(decision: Decision) -> list[str]:
    return [f"{'' if place else 'gates':<10}{gate.in_words}" for place, gate in enumerate(decision.gates)]
