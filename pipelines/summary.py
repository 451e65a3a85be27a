"""What a finished run found and where it lies: read from the artifacts in its folder."""

from pathlib import Path

from healthrisk import atomic
from healthrisk.config import settings
from healthrisk.registry.registration import Registration
from healthrisk.spec import DatasetSpec


def of_run(spec: DatasetSpec, folder: Path) -> str:
    """Return the summary of a finished run, given its folder; the reports are put where they stay."""
    # Heavy: who calls this in a forked process need not wait for them.
    from healthrisk.reports.model_card import ATTRIBUTES, CARD
    from healthrisk.reports.text_summary import summarize
    from healthrisk.training.decision import Decision

    registration = Registration.read(folder / "register" / "registration")
    name = f"{spec.name}-{registration.digest[:12]}"
    reports = settings().home / "reports"
    report, table = reports / f"{name}.html", reports / f"{name}-table.html"
    atomic.write_text(report, (folder / "evidence" / "page").read_text("utf-8"))
    atomic.write_text(table, (folder / "validate" / "page").read_text("utf-8"))
    for card in (folder / "evidence" / "cards").iterdir():
        atomic.write_text(reports / f"{name}-{card.name}", card.read_text("utf-8"))
    lines = [
        "",
        *summarize(spec, Decision.read(folder / "evidence" / "judged")),
        f"version   {registration.name} {registration.version}, {registration.alias}: {registration.reason}",
        *awaiting(registration),
        f"bundle    {registration.bundle}",
        f"report    {report}",
        f"table     {table}",
        f"cards     {reports / name}-{{{','.join((CARD, ATTRIBUTES))}}}",
        f"MLflow    {settings().tracking_uri}",
    ]
    return "\n".join(lines)


def awaiting(registration: Registration) -> list[str]:
    """Say what a rollout is on this machine, where nothing shares requests between versions."""
    if not registration.awaits_rollout:
        return []
    trial = f"python kserve/serve.py --dataset {registration.name} --challenger {registration.bundle}"
    return [
        f"rollout   not on this machine, where the champion stays; a silent trial beside it: {trial}; "
        "the same run without --rollout then makes it the champion"
    ]
