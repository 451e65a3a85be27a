"""All that is drawn and written of a judged winner: its page, every family's plots, and the cards for machines."""

from pathlib import Path

from healthrisk.data.ingest import IngestRecord
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.registry.provenance import code_origin
from healthrisk.reports.model_card import write_cards
from healthrisk.reports.model_report import model_plots, render, save_plots
from healthrisk.spec import DatasetSpec
from healthrisk.training.decision import Decision


def write_report(
    spec: DatasetSpec,
    decision: Decision,
    evidence: EvidenceRecord,
    data: IngestRecord,
    page: Path,
    plots: Path,
    cards: Path,
) -> None:
    """Write the report to `page`, plots to `plots`/FAMILY/NAME.png, and the cards into the folder `cards`."""
    drawn = {family: model_plots(spec, decision, family) for family in decision.models}
    save_plots(drawn, plots)
    page.write_text(render(spec, decision, evidence, data, code_origin(), drawn[decision.winner]))
    write_cards(spec, decision, evidence, code_origin(), cards)
