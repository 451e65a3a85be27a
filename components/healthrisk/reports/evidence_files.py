"""All that is drawn and written of a judged winner: its page, every family's plots, and the cards for machines."""

from pathlib import Path

from healthrisk.data.ingest import IngestRecord
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.registry.provenance import code_origin
from healthrisk.reports.model_card import write_cards
from healthrisk.reports.model_report import drawings, render, save_plots
from healthrisk.reports.plots import draw
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
    pictures = draw(drawings(spec, decision, evidence))
    save_plots(pictures, plots)
    page.write_text(render(spec, decision, evidence, data, code_origin(), pictures))
    write_cards(spec, decision, evidence, code_origin(), cards)
