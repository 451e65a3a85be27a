"""A chain of lines in a folder of its own, where one process at a time goes on writing.

Every process begins a segment of its own. So a line that a killed process left half written stays as it is, and the
next segment's opening says how many bytes are left out.
"""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

import orjson

from healthrisk.errors import ConfigError
from healthrisk.records import segment
from healthrisk.records.disk import DiskThread
from healthrisk.records.lines import START, RecordError, Tail, chained, opening, tail_of
from healthrisk.records.segment import Segment

LOCK = "lock"
# What the carrier leaves of the segments that it has taken away: the end of the last one.
CARRIED = "carried.json"
SEGMENT_BYTES = 8 * 2**20


class Chain:
    """The end of a chain, locked by this process."""

    def __init__(self, folder: Path, key_id: str, disk: DiskThread, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Go on with what is in the folder; nothing is written before there is a line.

        Raises:
            ConfigError: another process writes there, or the folder cannot be used.
            RecordError: the last segment's last line is none of a record's.
        """
        self._folder, self._key_id, self._disk, self._segment_bytes = folder, key_id, disk, segment_bytes
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            # For as long as the process lives.
            self._lock = os.open(folder / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"record {folder}: another process writes there") from None
        except OSError as error:
            raise ConfigError(f"record {folder} cannot be written: {error}") from error
        self._tail = end_of(folder)
        self._segment: Segment | None = None
        self._last = ""

    def append(self, bodies: list[bytes]) -> None:
        """Write JSON objects as the chain's next lines, all or none.

        Raises:
            OSError: there is no room, or the disk does not take them.
        """
        current = self._segment = self._segment or self._open()
        lines, last = [], self._last
        for body in bodies:
            line, last = chained(body, last)
            lines.append(line)
        try:
            current.append(lines)
        except OSError:
            if current.torn:
                self._end(end_of(self._folder))
            raise
        self._last = last
        self._disk.written(current)
        if current.size >= self._segment_bytes:
            self.seal()

    def seal(self) -> None:
        """Close the segment with a line of its own; one that there is no room for is left as it is until there is."""
        if self._segment is None:
            return
        time = now()
        line, last = chained(orjson.dumps({"time": time, "sealed": self._segment.lines}), self._last)
        try:
            self._segment.append([line])
        except OSError:
            if self._segment.torn:
                self._end(end_of(self._folder))
            return
        self._end(Tail(segment=self._segment.number, digest=last, time=time))

    def abandon(self) -> None:
        """End the segment as it is, since the disk has not kept it; the next line begins another."""
        if self._segment:
            self._end(end_of(self._folder))

    def release(self) -> None:
        """Seal the segment, and let another process write here."""
        self.seal()
        os.close(self._lock)

    def _end(self, tail: Tail | None) -> None:
        ended, self._segment, self._tail = self._segment, None, tail
        if ended:
            ended.ended = True
            self._disk.written(ended)

    def _open(self) -> Segment:
        tail = self._tail
        number = 1 + max([*segment.numbers(self._folder), tail.segment if tail else 0])
        opened = opening(self._folder.name, number, now(), self._key_id, tail)
        line, self._last = chained(opened, tail.digest if tail else START)
        return Segment(self._folder, number, line)


def end_of(folder: Path) -> Tail | None:
    """Return how the chain in a folder ends, or None where it has not begun; a segment without a line is removed.

    Raises:
        RecordError: the last segment's last line is none of a record's.
    """
    for number in reversed(segment.numbers(folder)):
        path = segment.path_of(folder, number)
        data = path.read_bytes()
        if b"\n" not in data:
            path.unlink()
            continue
        try:
            return tail_of(number, data)
        except RecordError as error:
            raise RecordError(f"record {path}: {error}") from error
    return Tail.read(folder / CARRIED) if (folder / CARRIED).exists() else None


def is_locked(folder: Path) -> bool:
    """Return whether a process writes the chain in a folder, or is about to."""
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def now() -> str:
    """Return the time as lines have it: ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
