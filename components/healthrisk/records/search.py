"""Entries of a record by a digest, of the values that were asked about or of a receipt; and what was done, by whom."""

from collections.abc import Callable, Iterator, Sequence

from healthrisk.documents import Document
from healthrisk.records import stored
from healthrisk.records.actions import CHAIN
from healthrisk.records.lines import Action, ActionEvent, Entry, RecordError, parse
from healthrisk.records.places import Place
from healthrisk.records.stored import StoredSegment


class Found(Document):
    """An entry or an action, and where it is."""

    chain: str
    segment: int
    line: int
    entry: Entry | Action


class FoundEntries(Document):
    """What was looked for."""

    found: tuple[Found, ...]


def find(place: Place, digests: Sequence[str]) -> FoundEntries:
    """Return the entries that have one of the digests, among those of their inputs or of their receipts.

    Raises:
        RecordError: a segment or a line cannot be read.
        StoreError: the place does not answer.
    """
    wanted = [digest.encode() for digest in digests]
    lines = _search(place, lambda line: any(digest in line for digest in wanted))
    return FoundEntries(found=tuple(found for found in lines if isinstance(found.entry, Entry)))


def find_actions(
    place: Place, event: ActionEvent | None = None, model: str | None = None, version: str | None = None
) -> FoundEntries:
    """Return what was done: of one kind, or to one version of a model; None is any.

    Raises:
        RecordError, StoreError: as for `find`.
    """
    wanted = {"event": event, "model": model, "version": version}

    def matches(found: Found) -> bool:
        return isinstance(found.entry, Action) and all(
            value is None or getattr(found.entry, name) == value for name, value in wanted.items()
        )

    lines = _search(place, lambda line: b'"event":' in line, f"{CHAIN}-")
    return FoundEntries(found=tuple(filter(matches, lines)))


def _search(place: Place, wanted: Callable[[bytes], bool], prefix: str = "") -> Iterator[Found]:
    for chain in stored.segments(place.names(prefix), place).values():
        for segment in chain:
            try:
                yield from _search_segment(segment, wanted)
            except RecordError as error:
                raise RecordError(f"{segment.name}: {error}") from None


def _search_segment(segment: StoredSegment, wanted: Callable[[bytes], bool]) -> Iterator[Found]:
    for number, line in enumerate(segment.data().split(b"\n")[:-1], 1):
        if wanted(line) and isinstance(entry := parse(line), Entry | Action):
            yield Found(chain=segment.chain, segment=segment.number, line=number, entry=entry)
