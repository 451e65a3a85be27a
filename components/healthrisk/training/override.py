"""A person lets a model be registered in spite of gates that it fails: never without a reason, and for all to see."""

from datetime import UTC, datetime

from healthrisk.errors import ConfigError
from healthrisk.spec import Verdict
from healthrisk.training.decision import Decision, Override

# Enough for `see protocol 7`, and too much for `ok` or `because`.
LEAST, MOST = 12, 500


def read_reason(text: str) -> str:
    """Return a reason on one line.

    Raises:
        ConfigError: it is empty, too short to say anything, or too long for a tag.
    """
    reason = " ".join(text.split())
    if not LEAST <= len(reason) <= MOST or " " not in reason:
        raise ConfigError(
            f"--override-gate {reason[:MOST]!r}: say why in {LEAST} to {MOST} characters, of two words at least"
        )
    return reason


def override_gates(decision: Decision, reason: str, by: str) -> Decision:
    """Return the decision with its failed gates overridden; the same where there is no reason, or none has failed.

    Raises:
        ConfigError: the reason is none.
    """
    if not reason:
        return decision
    said = read_reason(reason)
    if decision.passed:
        return decision
    failed = tuple(gate.summary for gate in decision.gates if gate.verdict is Verdict.FAILED)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    override = Override(reason=said, by=by, at=at, gates=failed)
    return decision.model_copy(update={"override": override})
