"""Turns at reading: of connections that send much, one is read in each turn of the event loop.

An answer over gRPC takes some twenty turns of the event loop. With forty connections that each send a large message,
and all of them read in each turn, a turn took 50 ms, and health over gRPC more than a second.
"""

import asyncio
from typing import Protocol

# So much is read of a connection before others have their turn. HTTP/2's clients send 64 KiB before they must wait.
_PIECE_BYTES = 2**15


class Transport(Protocol):
    """A connection, as far as it is read."""

    def is_closing(self) -> bool:
        """Say whether nothing more is read."""
        ...

    def pause_reading(self) -> None:
        """Read no more."""
        ...

    def resume_reading(self) -> None:
        """Read on."""
        ...


class ReadingTurns:
    """Who waits for a turn, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[PacedReading, None] = {}
        self._scheduled = False

    def wait(self, reading: "PacedReading") -> None:
        """Let a connection read on when it is its turn."""
        self._waiting[reading] = None
        self._schedule()

    def leave(self, reading: "PacedReading") -> None:
        """Let a connection wait no more."""
        self._waiting.pop(reading, None)

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        if self._waiting:
            reading = next(iter(self._waiting))
            del self._waiting[reading]
            self._schedule()
            reading.take_turn()


class PacedReading:
    """Reading from one connection: stopped while it waits for its turn, or while what it sends cannot go on."""

    def __init__(self, transport: Transport, turns: ReadingTurns) -> None:
        self._transport, self._turns = transport, turns
        self._received_bytes = 0
        self._waiting = self._blocked = False

    def received(self, size: int) -> None:
        """Take note of so many bytes, and let others have their turn after each piece."""
        self._received_bytes += size
        if self._received_bytes >= _PIECE_BYTES and not self._waiting and not self._transport.is_closing():
            self._waiting = True
            self._transport.pause_reading()
            self._turns.wait(self)

    def take_turn(self) -> None:
        """Read the next piece."""
        self._waiting, self._received_bytes = False, 0
        self._resume()

    def block(self) -> None:
        """Stop reading until `unblock`."""
        self._blocked = True
        self._transport.pause_reading()

    def unblock(self) -> None:
        """Read on, when it is this connection's turn."""
        self._blocked = False
        self._resume()

    def end(self) -> None:
        """Wait for no turn any more."""
        self._turns.leave(self)

    def _resume(self) -> None:
        if not (self._waiting or self._blocked or self._transport.is_closing()):
            self._transport.resume_reading()
