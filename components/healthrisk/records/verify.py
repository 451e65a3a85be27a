"""Whether a record is whole: every line follows from the one before, no segment is missing, every signature is good."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from healthrisk.documents import Document
from healthrisk.records import signature, stored
from healthrisk.records.lines import START, Line, Opening, RecordError, Seal, Tail, digest, parse
from healthrisk.records.places import Place
from healthrisk.records.stored import StoredSegment


class ChainVerdict(Document):
    """What one chain holds, as far as it is whole. `unsigned` counts segments without a signature.

    `fault` names the first place at fault; `line` and `digest` are of the newest line before it.
    """

    chain: str
    segments: int
    entries: int
    unsigned: int
    first: str | None
    last: str | None
    segment: int
    line: int
    digest: str
    fault: str | None


class Verdict(Document):
    """What was verified: the chains, and whether all are whole."""

    whole: bool
    chains: tuple[ChainVerdict, ...]


@dataclass(frozen=True)
class Rules:
    """What a record must keep: signatures by one of these keys, where there are any, and so many days of segments.

    `known` are verdicts of before: what they saw must still be there.
    """

    keys: tuple[Ed25519PublicKey, ...] = ()
    keep: timedelta = timedelta(days=184)
    known: dict[str, ChainVerdict] = field(default_factory=dict)


def verify(place: Place, rules: Rules) -> Verdict:
    """Check every chain of a place."""
    names = place.names()
    chains = [_Walk(place, names, rules).chain(own) for own in stored.segments(names, place).values()]
    seen = {verdict.chain for verdict in chains}
    gone = [
        known.model_copy(update={"fault": f"chain {known.chain}: it is gone, and was there before"})
        for known in rules.known.values()
        if known.chain not in seen and not _may_be_gone(known.last, rules)
    ]
    verdicts = (*chains, *gone)
    return Verdict(whole=not any(verdict.fault for verdict in verdicts), chains=verdicts)


def check_segment(segment: StoredSegment, data: bytes, after: Tail | None) -> tuple[list[bytes], Tail]:
    """Return a segment's lines and its end.

    Raises:
        RecordError: a line does not follow from the one before, or is none; the message names it.
    """
    *lines, left_out = data.split(b"\n")
    previous, last = after.digest if after else START, None
    for number, line in enumerate(lines, 1):
        try:
            parsed = parse(line)
        except RecordError as error:
            raise RecordError(f"line {number}: {error}") from None
        if number == 1:
            _check_opening(segment, parsed, after)
        if parsed.previous != previous:
            place = f"line {number - 1} was altered, or a line after it is missing" if number > 1 else "line 1"
            raise RecordError(f"{place}: line {number} does not name the digest of the line before it")
        _check_seal(number, parsed, last)
        previous, last = digest(line), parsed
    if last is None:
        raise RecordError("line 1: it is missing")
    if isinstance(last, Seal) and left_out:
        raise RecordError(f"line {len(lines) + 1}: it follows the seal")
    return lines, Tail(segment=segment.number, digest=previous, time=last.time, left_out=len(left_out))


def _check_opening(segment: StoredSegment, line: Line, after: Tail | None) -> None:
    if not isinstance(line, Opening):
        raise RecordError("line 1: it opens no segment")
    if (line.chain, line.segment) != (segment.chain, segment.number):
        raise RecordError(f"line 1: it opens segment {line.segment} of chain {line.chain}")
    if after is None and line.segment != 1:
        raise RecordError("line 1: it names no segment before it")
    if after and line.after != after:
        raise RecordError(f"line 1: it does not say how segment {after.segment} ends")


def _check_seal(number: int, line: Line, last: Line | None) -> None:
    if isinstance(last, Seal):
        raise RecordError(f"line {number}: it follows the seal")
    if isinstance(line, Seal) and line.sealed != number - 1:
        raise RecordError(f"line {number}: it seals {line.sealed} lines, and {number - 1} are there")


def _may_be_gone(time: str | None, rules: Rules) -> bool:
    return time is None or datetime.fromisoformat(time) < datetime.now(UTC) - rules.keep


class _Walk:
    """The way along one chain."""

    def __init__(self, place: Place, names: list[str], rules: Rules) -> None:
        self._place, self._names, self._rules = place, set(names), rules
        self._segments = self._entries = self._unsigned = self._line = 0
        self._first: str | None = None
        self._tail: Tail | None = None

    def chain(self, segments: Sequence[StoredSegment]) -> ChainVerdict:
        """Return the verdict on a chain with at least one segment."""
        name, fault = segments[0].chain, None
        if segments[-1].suffix == stored.PLAIN and b"\n" not in segments[-1].data():
            # It was just being begun, and the next process begins it anew.
            segments = segments[:-1]
        before = self._carried(name)
        for segment in segments:
            try:
                before = self._segment(segment, before, first=segment is segments[0])
            except RecordError as error:
                fault = f"{segment.name}, {error}"
                break
        known = self._rules.known.get(name)
        end = (self._tail.segment if self._tail else 0, self._line)
        if fault is None and known and (known.segment, known.line) > end:
            fault = f"chain {name}: it went on to line {known.line} of segment {known.segment} before"
        return ChainVerdict(
            chain=name,
            segments=self._segments,
            entries=self._entries,
            unsigned=self._unsigned,
            first=self._first,
            last=self._tail.time if self._tail else None,
            segment=self._tail.segment if self._tail else 0,
            line=self._line,
            digest=self._tail.digest if self._tail else START,
            fault=fault,
        )

    def _carried(self, chain: str) -> Tail | None:
        if (name := stored.carried_name(chain)) not in self._names:
            return None
        return Tail.model_validate_json(self._place.read(name))

    def _segment(self, segment: StoredSegment, before: Tail | None, first: bool) -> Tail:
        data = segment.data()
        if first and before is None:
            before = self._kept_no_longer(data)
        lines, tail = check_segment(segment, data, before)
        self._check_signature(segment, data, tail)
        self._check_known(segment, lines)
        self._first = self._first or parse(lines[0]).time
        self._segments += 1
        self._entries += len(lines) - 1 - isinstance(parse(lines[-1]), Seal)
        self._line, self._tail = len(lines), tail
        return tail

    def _kept_no_longer(self, data: bytes) -> Tail | None:
        """Return how the segment before the first one ended that is there, if it may be gone."""
        opening = parse(data.split(b"\n", 1)[0])
        after = opening.after if isinstance(opening, Opening) else None
        if after and not _may_be_gone(after.time, self._rules):
            days = self._rules.keep.days
            raise RecordError(f"line 1: segment {after.segment} before it is missing, and is kept for {days} days")
        return after

    def _check_signature(self, segment: StoredSegment, data: bytes, tail: Tail) -> None:
        name = stored.file_name(segment.chain, segment.number, stored.SIGNED)
        if name not in self._names:
            # A server's own file is signed when it is carried away.
            if segment.suffix == stored.PACKED:
                raise RecordError("its signature is missing")
            self._unsigned += 1
            return
        signed = signature.read_signed(self._place.read(name))
        if self._rules.keys:
            signature.check(signed, self._rules.keys)
        said = signed.statement
        here = (segment.chain, segment.number, hashlib.sha256(data).hexdigest(), tail)
        if (said.chain, said.segment, said.sha256, said.tail) != here:
            raise RecordError("it is not what was signed")

    def _check_known(self, segment: StoredSegment, lines: list[bytes]) -> None:
        known = self._rules.known.get(segment.chain)
        if not known or known.segment != segment.number or known.line > len(lines):
            return
        if digest(lines[known.line - 1]) != known.digest:
            raise RecordError(f"line {known.line}: it is another than was there before")
