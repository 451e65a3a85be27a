"""The record as an event loop writes it: the lines of all requests that end in one turn go out with one write."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from healthrisk.records.chain import SEGMENT_BYTES, Chain
from healthrisk.records.disk import DiskThread
from healthrisk.records.lines import RecordError

SEAL_SECONDS = 300.0


class Record:
    """Takes lines from requests, and tells each once its line is written. Used on one event loop."""

    def __init__(
        self,
        folder: Path,
        key_id: str,
        failed: Callable[[Exception], None],
        segment_bytes: int = SEGMENT_BYTES,
        seal_seconds: float = SEAL_SECONDS,
    ) -> None:
        """Go on with the chain in a folder. `failed` is told of what was not written, or not brought to the disk.

        Raises:
            ConfigError, RecordError: as for `Chain`.
        """
        self._failed, self._seal_seconds = failed, seal_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._disk = DiskThread(self._lost)
        self._chain = Chain(folder, key_id, self._disk, segment_bytes)
        self._waiting: list[tuple[bytes, asyncio.Future[bool] | None]] = []
        self._sealing: asyncio.TimerHandle | None = None

    async def write(self, body: bytes) -> bool:
        """Write a JSON object as a line. Returns once the kernel has it, or that it was not written."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._add(body, written)
        return await written

    def note(self, body: bytes) -> None:
        """Write a line for which nobody waits."""
        self._add(body, None)

    def close(self) -> None:
        """Write what waits, seal the segment, and bring all to the disk."""
        self._flush()
        if self._sealing:
            self._sealing.cancel()
        self._chain.release()
        self._disk.close()

    def _add(self, body: bytes, written: asyncio.Future[bool] | None) -> None:
        if not self._waiting:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)
        self._waiting.append((body, written))

    def _flush(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        done = True
        try:
            self._chain.append([body for body, _ in waiting])
        except (OSError, RecordError) as error:
            done = False
            self._failed(error)
        for _, written in waiting:
            # Whoever has left waits no longer.
            if written and not written.done():
                written.set_result(done)
        if self._loop and self._sealing is None:
            self._sealing = self._loop.call_later(self._seal_seconds, self._seal)

    def _seal(self) -> None:
        self._sealing = None
        self._chain.seal()

    def _lost(self, error: OSError) -> None:
        """On the disk's thread: what it has not kept is not written over by what follows."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._chain.abandon)
            self._loop.call_soon_threadsafe(self._failed, error)
