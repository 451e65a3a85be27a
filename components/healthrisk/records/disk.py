"""What was written is brought to the disk on a thread of its own, twice a second, while the event loop goes on."""

import os
import queue
import threading
from collections.abc import Callable

from healthrisk.records.segment import Segment

_SECONDS = 0.5


class DiskThread:
    """Synchronizes segments, and closes those that have ended. `failed` is called on the thread."""

    def __init__(self, failed: Callable[[OSError], None]) -> None:
        self._failed = failed
        self._written: queue.SimpleQueue[Segment] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def written(self, segment: Segment) -> None:
        """Take note that a segment has lines which the disk has not, or has ended."""
        if not segment.dirty:
            segment.dirty = True
            self._written.put(segment)

    def close(self) -> None:
        """Bring the rest to the disk and end the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_SECONDS):
            self._synchronize()
        self._synchronize()

    def _synchronize(self) -> None:
        while not self._written.empty():
            segment = self._written.get()
            if segment.descriptor < 0:
                continue
            # First: what is written from here on is noted anew.
            segment.dirty, ended = False, segment.ended
            try:
                os.fdatasync(segment.descriptor)
                if segment.is_new:
                    _synchronize_folder(segment)
            except OSError as error:
                self._failed(error)
            if ended:
                descriptor, segment.descriptor = segment.descriptor, -1
                os.close(descriptor)


def _synchronize_folder(segment: Segment) -> None:
    descriptor = os.open(segment.folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    segment.is_new = False
