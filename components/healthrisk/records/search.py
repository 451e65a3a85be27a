"""Entries of a record by a digest: of the values that were asked about, or of a receipt."""

from collections.abc import Iterator, Sequence

from healthrisk.documents import Document
from healthrisk.records import stored
from healthrisk.records.lines import Entry, RecordError, parse
from healthrisk.records.places import Place
from healthrisk.records.stored import StoredSegment


class Found(Document):
    """An entry, and where it is."""

    chain: str
    segment: int
    line: int
    entry: Entry


class FoundEntries(Document):
    """The entries that were looked for."""

    found: tuple[Found, ...]


def find(place: Place, digests: Sequence[str]) -> FoundEntries:
    """Return the entries that have one of the digests, among those of their inputs or of their receipts.

    Raises:
        RecordError: a segment or a line cannot be read.
        StoreError: the place does not answer.
    """
    return FoundEntries(found=tuple(_search(place, [digest.encode() for digest in digests])))


def _search(place: Place, wanted: list[bytes]) -> Iterator[Found]:
    for chain in stored.segments(place.names(), place).values():
        for segment in chain:
            try:
                yield from _search_segment(segment, wanted)
            except RecordError as error:
                raise RecordError(f"{segment.name}: {error}") from None


def _search_segment(segment: StoredSegment, wanted: list[bytes]) -> Iterator[Found]:
    for number, line in enumerate(segment.data().split(b"\n")[:-1], 1):
        if any(digest in line for digest in wanted) and isinstance(entry := parse(line), Entry):
            yield Found(chain=segment.chain, segment=segment.number, line=number, entry=entry)
