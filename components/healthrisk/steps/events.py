"""What steps report to whoever runs them: a line of JSON each, appended to the file that HEALTHRISK_EVENTS names.

A log is for people, and its wording is free; what another process acts on stands here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from healthrisk.config import settings
from healthrisk.documents import Document


class Event(Document):
    """A step began, has something to say, ended, failed for a reason that a person can fix, or crashed."""

    step: str
    kind: Literal["began", "said", "ended", "failed", "crashed"]
    text: str = ""


def emit(event: Event) -> None:
    """Append an event, if anybody wants events; one write, so that two processes cannot mix their lines."""
    if path := settings().events:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{event.model_dump_json()}\n")


class Reader:
    """Reads a file of events while others append to it."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def read(self) -> Iterator[Event]:
        """Yield the events that were appended since the last time; a line that is not whole yet waits."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._at += len(line)
                yield Event.model_validate_json(line)
