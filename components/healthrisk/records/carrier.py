"""Segments that are finished go from the servers' folder to where they are kept: checked, compressed and signed."""

import gzip
import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from healthrisk import atomic
from healthrisk.documents import Document
from healthrisk.records import segment, signature, stored
from healthrisk.records.chain import CARRIED, is_locked
from healthrisk.records.lines import RecordError, Tail, parse
from healthrisk.records.places import Place, open_place
from healthrisk.records.signature import Statement
from healthrisk.records.stored import PACKED, PLAIN, SIGNED, StoredSegment, file_name
from healthrisk.records.verify import check_segment


class Carried(Document):
    """What one run did: segments carried, segments removed since they are old enough, and what is at fault."""

    carried: int
    removed: int
    faults: tuple[str, ...]


def carry(folder: Path, to: Place, key: Ed25519PrivateKey, keep: timedelta) -> Carried:
    """Carry every finished segment of every chain below a folder, then remove from the place what is old enough.

    A run that was killed can be repeated. A chain at fault stays where it is from the fault on; the others go on.

    Raises:
        StoreError: there is no such folder, or the place does not take a segment.
    """
    here, carrier = open_place(str(folder)), _Carrier(to, key, keep)
    carried, faults = 0, []
    for chain in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            for _ in carrier.chain(chain, here):
                carried += 1
        except RecordError as error:
            faults.append(str(error))
        _forget(chain, keep)
    signer = _Carrier(to, key, keep)
    for segments in stored.segments(to.names(), to).values():
        try:
            carried += sum(1 for _ in signer.sign(segments))
        except RecordError as error:
            faults.append(str(error))
    return Carried(carried=carried, removed=_remove_old(to, keep), faults=tuple(faults))


class _Carrier:
    """What one run carries with."""

    def __init__(self, to: Place, key: Ed25519PrivateKey, keep: timedelta) -> None:
        self._to, self._key, self._keep = to, key, keep
        self._kept = set(to.names())

    def chain(self, folder: Path, here: Place) -> Iterator[int]:
        """Yield the number of each segment of a chain once it is carried."""
        last = Tail.read(folder / CARRIED) if (folder / CARRIED).exists() else None
        for number in segment.numbers(folder):
            path = segment.path_of(folder, number)
            if last and number <= last.segment:
                # Carried by a run that was killed before it could remove it.
                path.unlink()
                continue
            data = segment.read_final(path)
            if not data or b"\n" not in data:
                break
            last = self._segment(StoredSegment(here, folder.name, number, PLAIN), data, last)
            atomic.write_text(folder / CARRIED, last.to_json())
            path.unlink()
            yield number

    def sign(self, chain: list[StoredSegment]) -> Iterator[int]:
        """Yield the number of each segment that a process wrote to the place itself, once it is signed."""
        before: StoredSegment | None = None
        for own in chain:
            plain, signed = (file_name(own.chain, own.number, suffix) for suffix in (PLAIN, SIGNED))
            if plain in self._kept:
                if signed not in self._kept:
                    self._segment(own, own.data(), self._tail(before))
                    yield own.number
                self._to.remove(plain)
            before = own

    def _tail(self, segment: StoredSegment | None) -> Tail | None:
        if segment is None:
            return None
        signed = self._to.read(file_name(segment.chain, segment.number, SIGNED))
        return signature.read_signed(signed).statement.tail

    def _segment(self, own: StoredSegment, data: bytes, after: Tail | None) -> Tail:
        try:
            lines, tail = check_segment(own, data, after)
        except RecordError as error:
            raise RecordError(f"{own.name}, {error}") from None
        statement = Statement(
            chain=own.chain,
            segment=own.number,
            sha256=hashlib.sha256(data).hexdigest(),
            lines=len(lines),
            first=parse(lines[0]).time,
            tail=tail,
        )
        packed, signed = (file_name(own.chain, own.number, suffix) for suffix in (PACKED, SIGNED))
        if signed in self._kept:
            if signature.read_signed(self._to.read(signed)).statement != statement:
                raise RecordError(f"{own.name}: another one is kept already")
            return tail
        until = datetime.fromisoformat(tail.time) + self._keep
        self._to.write(packed, gzip.compress(data, mtime=0), until)
        # Last: a segment with a signature is whole.
        self._to.write(signed, signature.sign(statement, self._key), until)
        return tail


def _remove_old(place: Place, keep: timedelta) -> int:
    oldest = datetime.now(UTC) - keep
    names, removed = place.names(), 0
    for chain in stored.segments(names, place).values():
        for own in chain:
            signed = file_name(own.chain, own.number, SIGNED)
            if signed not in names:
                break
            statement = signature.read_signed(place.read(signed)).statement
            if datetime.fromisoformat(statement.tail.time) >= oldest:
                break
            if not all(place.remove(file_name(own.chain, own.number, suffix)) for suffix in (PACKED, SIGNED)):
                # It was locked for longer than segments are kept now.
                break
            removed += 1
    return removed


def _forget(folder: Path, keep: timedelta) -> None:
    """Remove what is left of a chain that no process goes on with, once nothing of it is kept any more."""
    if segment.numbers(folder) or not (folder / CARRIED).exists():
        return
    if datetime.fromisoformat(Tail.read(folder / CARRIED).time) < datetime.now(UTC) - keep and not is_locked(folder):
        shutil.rmtree(folder)
