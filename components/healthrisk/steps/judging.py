"""What the evidence step does between its artifacts: it judges the winner, and writes what became of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from healthrisk.config import level as read_level
from healthrisk.data.ingest import IngestRecord
from healthrisk.evidence.gather import add_gates, gather
from healthrisk.evidence.record import EvidenceRecord
from healthrisk.records import actor
from healthrisk.reports.evidence_files import write_report
from healthrisk.spec import DatasetSpec
from healthrisk.steps.artifacts import Artifact, read_parts, read_spec
from healthrisk.training.decision import Decision
from healthrisk.training.override import override_gates, read_reason
from healthrisk.training.split import read_common
from healthrisk.training.train import Trained


@dataclass(frozen=True)
class JudgedWinner:
    """The decision with the evidence's gates, and the evidence."""

    spec: DatasetSpec
    decision: Decision
    evidence: EvidenceRecord

    def write(self, decision: Artifact, evidence: Artifact) -> None:
        """Write both as JSON."""
        self.decision.write(Path(decision.path))
        self.evidence.write(Path(evidence.path))

    def report(self, record: Artifact, page: Artifact, plots: Artifact, cards: Artifact) -> None:
        """Write the page, the plots and the cards; `record` is what ingest wrote of the table's origin."""
        origin = IngestRecord.read(Path(record.path))
        write_report(
            self.spec, self.decision, self.evidence, origin, Path(page.path), Path(plots.path), Path(cards.path)
        )


def judge_winner(
    spec: Artifact,
    models: Sequence[Trained],
    decision: Artifact,
    train: Artifact,
    test: Artifact,
    seed: int,
    level: str,
    override: tuple[str, str] = ("", ""),
) -> JudgedWinner:
    """Gather the evidence on the winner that a decision names, and add its gates; `override` is a reason, and whose.

    Raises:
        ConfigError: there is no such level, or the reason is none.
    """
    reason, by = override
    if reason:
        # Before minutes of work, not after them.
        read_reason(reason)
    parsed, decided = read_spec(spec), Decision.read(Path(decision.path))
    common = read_common(Path(train.path), Path(test.path))
    parts = read_parts(parsed, train, test)
    evidence = gather(parsed, models, decided.winner, *parts, seed, read_level(level), *common)
    judged = override_gates(add_gates(parsed, decided, evidence), reason, by or actor.current())
    return JudgedWinner(parsed, judged, evidence)
