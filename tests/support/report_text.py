"""What a report says, without its pictures and marks."""

import re

import pytest

from healthrisk.bundle.manifest import CodeOrigin
from healthrisk.data.ingest import IngestRecord
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.reports import model_report, plots
from healthrisk.spec import DatasetSpec
from healthrisk.training.decision import Decision


def text_of(spec: DatasetSpec, decision: Decision, evidence: EvidenceRecord, record: IngestRecord) -> str:
    """Return the text of the report, a cell or a line apart by one blank."""
    with pytest.MonkeyPatch.context() as patched:
        # Plots are made, and not painted, which takes longer than all the rest; tests/reports looks at them.
        patched.setattr(plots, "to_png", lambda figure: b"")
        drawings = model_report.drawings(spec, decision, evidence)
        pictures = {name: plots.to_png(draw()) for name, draw in drawings.items()}
        origin = CodeOrigin(git_revision="0" * 40, versions={})
        page = model_report.render(spec, decision, evidence, record, origin, pictures)
    return " ".join(re.sub("<[^>]+>", " ", re.sub("<style>.*?</style>", "", page, flags=re.DOTALL)).split())
