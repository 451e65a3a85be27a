"""Requests as bytes over connections of one's own, so that nothing a client would put right stays unsent."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

# Longer than any answer may take, and than a test waits on a busy machine.
HANG_SECONDS = 600.0
# Attackers have an address of their own, as those have who ask for health: of too many connections the client with the
# most loses some.
SOURCE = ("127.0.0.3", 0)
# What no request may be answered, however bad it is.
NEVER = frozenset({"500", "UNKNOWN", "INTERNAL"})


@dataclass
class Tally:
    """What was sent and what came back: statuses and the slowest answer in seconds, by kind of request."""

    sent: Counter[str] = field(default_factory=Counter)
    codes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    slowest: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def count(self, kind: str, code: object, seconds: float, requests: int = 1, details: str = "") -> None:
        self.sent[kind] += requests
        self.codes[kind][str(code)] += 1
        self.slowest[kind] = max(self.slowest.get(kind, 0.0), seconds)
        if str(code) in NEVER:
            self.faults.append(f"{kind}: {code} {details}")


def head(method: str, path: str, length: int | None = None, more: str = "") -> bytes:
    content = "" if length is None else f"content-length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{content}{more}\r\n".encode()


class Connection:
    """A connection that is kept, and made anew where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a whole request; return the status and the body of its answer, or 0 where the server only closes."""
        for _ in range(2):
            if self._writer is None or self._writer.is_closing():
                self._reader, self._writer = await connect(self._port)
            try:
                return await asyncio.wait_for(self._exchange(self._writer, message), HANG_SECONDS)
            except (ConnectionError, asyncio.IncompleteReadError):
                await self.close()
        return 0, b""

    async def _exchange(self, writer: asyncio.StreamWriter, message: bytes) -> tuple[int, bytes]:
        writer.write(message)
        # A server that refuses a long body answers before it has come in.
        sending = asyncio.ensure_future(writer.drain())
        try:
            start = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(start.split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await self._reader.readexactly(length)
        finally:
            whole = sending.done()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        if not whole or b"connection: close" in start:
            await self.close()
        return int(start[9:12]), body

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()
            self._writer = None


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=SOURCE)


async def exchange(port: int, message: bytes, seconds: float = HANG_SECONDS) -> bytes:
    """Send bytes; return all that comes back until the server closes, or for so long."""
    reader, writer = await connect(port)
    answer = b""
    try:
        writer.write(message)
        # A server may end what attacks it by a reset; the time is that after which the attacker leaves.
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(seconds):
                while part := await reader.read(65536):
                    answer += part
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def read(self) -> float:
        return time.monotonic() - self._began
