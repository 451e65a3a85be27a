"""Connections that send much, and the turns of the event loop in which they are read."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import cast

import uvloop

from healthrisk.serving import grpc_front
from healthrisk.serving.admission import AdmissionController, Limits
from healthrisk.serving.reading_turns import PacedReading, ReadingTurns
from tests.support import http2

CLIENTS = 12
PIECES = 40
PIECE = bytes(2**16)
ANSWER = 60


class Reader(asyncio.Protocol):
    """Reads to the end, and tells in which turn of the event loop it was given something."""

    def __init__(self, turns: ReadingTurns, seen: "list[tuple[int, Reader]]", clock: "Clock") -> None:
        self._turns, self._seen, self._clock = turns, seen, clock
        self.received_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.reading = PacedReading(self.transport, self._turns)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self._seen.append((self._clock.turn, self))
        self.reading.received(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.reading.end()
        self._clock.left += 1


class Clock:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.turn = self.left = 0

    def tick(self) -> None:
        self.turn += 1
        if self.left < CLIENTS:
            asyncio.get_running_loop().call_soon(self.tick)


async def send(*at: object) -> None:
    _, writer = await asyncio.open_connection(*at)  # type: ignore[arg-type]
    for _ in range(PIECES):
        writer.write(PIECE)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_one_of_many_is_read_in_a_turn() -> None:
    clock, turns = Clock(), ReadingTurns()
    seen: list[tuple[int, Reader]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Reader(turns, seen, clock), "127.0.0.1", 0)
        loop.call_soon(clock.tick)
        async with asyncio.timeout(ANSWER):
            await asyncio.gather(*(send(*server.sockets[0].getsockname()) for _ in range(CLIENTS)))
            while clock.left < CLIENTS:
                await asyncio.sleep(0)
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    readers = {reader for _, reader in seen}
    assert [reader.received_bytes for reader in readers] == [PIECES * len(PIECE)] * CLIENTS
    # Each is read in the turn in which it comes; all that follows waits.
    first: dict[Reader, int] = {}
    for turn, reader in seen:
        first.setdefault(reader, turn)
    later = Counter(turn for turn, reader in seen if turn > max(first.values()))
    assert later
    assert set(later.values()) == {1}


def test_a_connection_that_is_blocked_is_not_read_when_its_turn_comes() -> None:
    class Transport:
        def __init__(self) -> None:
            self.calls: list[str] = []
            self.closing = False

        def is_closing(self) -> bool:
            return self.closing

        def pause_reading(self) -> None:
            self.calls.append("pause")

        def resume_reading(self) -> None:
            self.calls.append("resume")

    async def run() -> None:
        transport = Transport()
        reading = PacedReading(transport, ReadingTurns())
        reading.received(len(PIECE))
        reading.block()
        await asyncio.sleep(0.01)
        assert transport.calls == ["pause", "pause"]
        reading.unblock()
        assert transport.calls == ["pause", "pause", "resume"]
        reading.received(len(PIECE))
        reading.unblock()
        assert transport.calls[3:] == ["pause"]
        transport.closing = True
        await asyncio.sleep(0.01)
        assert transport.calls[3:] == ["pause"]

    asyncio.run(run())


def test_messages_over_grpc_are_read_by_turns(tmp_path: Path) -> None:
    waited: list[PacedReading] = []

    class Noted(ReadingTurns):
        def wait(self, reading: PacedReading) -> None:
            waited.append(reading)
            super().wait(reading)

    async def run() -> None:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(2**20):
                pass
            writer.close()
            await writer.wait_closed()
            ended.release()

        ended = asyncio.Semaphore(0)
        upstream = await asyncio.start_unix_server(swallow, f"{tmp_path}/grpc")
        admission = AdmissionController(Limits())
        admission.turns = Noted()
        listening = await grpc_front.listen("127.0.0.1", 0, f"{tmp_path}/grpc", admission)
        start = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + http2.call(1, "/x")
        piece = http2.frame(http2.DATA, 0, 1, bytes(2**14))
        writers = []
        async with asyncio.timeout(ANSWER):
            for _ in range(2):
                _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
                writer.write(start + 64 * piece)
                writers.append(writer)
            while admission.held_bytes < 2 * 64 * 2**14:
                await asyncio.sleep(0.01)
            for writer in writers:
                writer.close()
                await writer.wait_closed()
                await ended.acquire()
        listening.close()
        upstream.close()

    asyncio.run(run())
    assert len(set(waited)) == 2
    assert all(count >= 4 for count in Counter(waited).values()), "each waits after a piece of at most 256 KiB"
