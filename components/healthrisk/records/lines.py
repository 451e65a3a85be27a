"""The lines of a record: JSON objects, each with the digest of the line before it.

A segment is a file of such lines: an opening, which says what the segment before ended with, entries, and a seal unless
the process that wrote it was killed. What a killed process leaves of a line is no line.
"""

import hashlib
from typing import Literal

import orjson
from pydantic import ValidationError

from healthrisk.documents import Document
from healthrisk.errors import HealthriskError

FORMAT = 1
# What the first line of a chain has before it.
START = "0" * 64


class RecordError(HealthriskError):
    """A record is altered, not whole, or cannot be read."""


class Tail(Document):
    """How a segment ends: the digest of its last line, that line's time, and the bytes after it that are no line."""

    segment: int
    digest: str
    time: str
    left_out: int = 0


class Opening(Document):
    """A segment's first line. `key` names the key of the digests in it, `after` the end of the segment before."""

    format: Literal[1]
    chain: str
    segment: int
    time: str
    key: str
    after: Tail | None
    previous: str


class Entry(Document):
    """A request that asked for a prediction or an explanation.

    `inputs` are keyed digests of its rows, empty where none could be read; `receipts` digests of those of its answer.
    """

    time: str
    asked: str
    caller: str | None
    model: str
    digest: str
    protocol: str
    rows: int
    status: int
    reason: str | None
    inputs: tuple[str, ...]
    receipts: tuple[str, ...]
    previous: str


ActionEvent = Literal[
    "registered",
    "gate-overridden",
    "promoted",
    "deployed",
    "rolled-back",
    "rollout",
    "retired",
    "retraining",
    "deleted",
]


class Action(Document):
    """Something that was done to a model or its data: `by` whom, and why or how. What is not known is empty."""

    time: str
    event: ActionEvent
    by: str
    model: str
    version: str
    digest: str
    reason: str
    previous: str


class Seal(Document):
    """A segment's last line, unless its process was killed: how many lines are before it."""

    time: str
    sealed: int
    previous: str


Line = Opening | Entry | Action | Seal


def chained(body: bytes, previous: str) -> tuple[bytes, str]:
    """Return the line of a JSON object that has the digest of the line before added to it, and its own digest."""
    line = b'%b,"previous":"%b"}' % (body[:-1], previous.encode())
    return line + b"\n", digest(line)


def digest(line: bytes) -> str:
    """Return the digest of a line, without its end: SHA-256 in hexadecimal digits."""
    return hashlib.sha256(line).hexdigest()


def split(data: bytes) -> list[bytes]:
    """Return the lines of a segment that chain, without their ends; what comes after them is left out."""
    lines: list[bytes] = []
    previous = b""
    for line in data.split(b"\n")[:-1]:
        if lines and not line.endswith(b',"previous":"%b"}' % previous):
            break
        lines.append(line)
        previous = digest(line).encode()
    return lines


def tail_of(segment: int, data: bytes) -> Tail | None:
    """Return how a segment ends, or None where it has no whole line.

    Raises:
        RecordError: its last line is none of a record's.
    """
    if not (lines := split(data)):
        return None
    last = parse(lines[-1])
    left_out = len(data) - sum(map(len, lines)) - len(lines)
    return Tail(segment=segment, digest=digest(lines[-1]), time=last.time, left_out=left_out)


def parse(line: bytes) -> Line:
    """Read a line.

    Raises:
        RecordError: it is none of a record's.
    """
    try:
        given = orjson.loads(line)
        return _kind(given).model_validate(given)
    except (orjson.JSONDecodeError, TypeError, ValidationError):
        # Not the line itself: who altered it may have written anything.
        raise RecordError("not a line of a record") from None


def _kind(given: dict[str, object]) -> type[Line]:
    if "format" in given:
        return Opening
    if "sealed" in given:
        return Seal
    return Action if "event" in given else Entry


def opening(chain: str, segment: int, time: str, key: str, after: Tail | None) -> bytes:
    """Return the object of a segment's first line."""
    given = {"format": FORMAT, "chain": chain, "segment": segment, "time": time, "key": key}
    return orjson.dumps({**given, "after": after.model_dump() if after else None})
