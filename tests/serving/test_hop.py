"""The hop believes nothing: a predictor that answers late, twice, too much or nonsense gets nobody another's result."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from healthrisk.serving import hop
from healthrisk.serving.errors import RequestError
from healthrisk.serving.hop import PredictorClient
from healthrisk.serving.predictor_connections import PredictorAddress
from tests.support.patience import ANSWER

Answer = Callable[["Connection", str, int], Awaitable[None]]
INPUTS = np.zeros((2, 3), dtype=np.float32)


class Connection:
    """One connection of a predictor that answers as a test wants it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> tuple[str, int]:
        """Return a request's id and its number of rows."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
        size = int(head.split(b"inference-header-content-length: ")[1].split(b"\r\n")[0])
        document = json.loads((await self.reader.readexactly(length))[:size])
        return document["id"], document["inputs"][0]["shape"][0]

    def answer(self, call: str | None, probabilities: Any, **more: bytes) -> None:
        """Send an answer of probabilities, or of bytes in their place."""
        raw = probabilities if isinstance(probabilities, bytes) else np.asarray(probabilities, "<f4").tobytes()
        document = json.dumps({"model_name": "m", **({} if call is None else {"id": call}), "outputs": []}).encode()
        document = more.get("document", document)
        head = b"HTTP/1.1 200 OK\r\ninference-header-content-length: %d\r\ncontent-length: %d\r\n%b\r\n"
        self.writer.write(head % (len(document), len(document) + len(raw), more.get("headers", b"")) + document + raw)


class Predictor:
    """Listens on a free port, and has every request answered by one function."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._writers)

    async def __aenter__(self) -> PredictorClient:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.client = PredictorClient(PredictorAddress("127.0.0.1", port, ANSWER), "m", "1", 2)
        return self.client

    async def __aexit__(self, *_: object) -> None:
        self.client._connections.close()
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        connection = Connection(reader, writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._answer(connection, *await connection.read())


def row_for(call: str) -> list[float]:
    """Return probabilities that only one call has."""
    share = (int(call, 16) % 97 + 1) / 100
    return [share, 1 - share]


async def expect(client: PredictorClient, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        await client.probabilities(INPUTS)
    assert caught.value.status == 503


def test_good_answers() -> None:
    async def answer(connection: Connection, call: str, rows: int) -> None:
        connection.answer(call, [row_for(call)] * rows)

    async def run() -> None:
        predictor = Predictor(answer)
        async with predictor as client:
            for number in range(1, 40):
                probabilities = await client.probabilities(INPUTS)
                assert np.allclose(probabilities, [row_for(f"{number:x}")] * 2)
            together = await asyncio.gather(*(client.probabilities(INPUTS) for _ in range(300)))
            assert {part.shape for part in together} == {(2, 2)}
        assert predictor.connections < 5

    asyncio.run(run())


async def ask_one_after_the_other(client: PredictorClient, count: int) -> list[asyncio.Task[Any]]:
    """Ask so often, each time in a turn of the event loop of its own."""
    asked = []
    for _ in range(count):
        asked.append(asyncio.ensure_future(client.probabilities(INPUTS)))
        await asyncio.sleep(0.001)
    return asked


def test_what_is_asked_while_two_calls_are_under_way_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hop, "_WAIT_SECONDS", ANSWER)
    calls: list[int] = []

    async def run() -> None:
        answered = asyncio.Semaphore(0)

        async def answer(connection: Connection, call: str, rows: int) -> None:
            calls.append(rows)
            await answered.acquire()
            connection.answer(call, [row_for(call)] * rows)

        async with Predictor(answer) as client:
            asked = await ask_one_after_the_other(client, 7)
            answered.release()
            await asyncio.wait(asked, timeout=ANSWER, return_when=asyncio.FIRST_COMPLETED)
            answered.release()
            answered.release()
            assert {part.shape for part in await asyncio.gather(*asked)} == {(2, 2)}

    asyncio.run(run())
    assert calls == [2, 2, 10]


def test_nobody_waits_for_calls_that_hang() -> None:
    async def run() -> None:
        hanging = asyncio.Event()
        calls = 0

        async def answer(connection: Connection, call: str, rows: int) -> None:
            nonlocal calls
            calls += 1
            if calls <= 2:
                await hanging.wait()
            connection.answer(call, [row_for(call)] * rows)

        async with Predictor(answer) as client:
            *late, third = await ask_one_after_the_other(client, 3)
            assert (await asyncio.wait_for(third, ANSWER)).shape == (2, 2)
            assert not any(one.done() for one in late)
            hanging.set()
            await asyncio.gather(*late)

    asyncio.run(run())


HALF = [0.5, 0.5]
# What stands in the last row, and how many rows there are besides.
BAD: dict[str, tuple[list[float], int]] = {
    "not a number": ([float("nan"), 0.5], -1),
    "the last is not a number": ([0.5, float("nan")], -1),
    "infinite": ([float("inf"), 0.5], -1),
    "below 0": ([-0.5, 1.5], -1),
    "sum above 1": ([0.75, 0.75], -1),
    "sum below 1": ([0.25, 0.25], -1),
    "too few rows": (HALF, -2),
    "too many rows": (HALF, 0),
    "three classes": ([0.25, 0.25, 0.5], -1),
    "a class too few": ([1.0], -1),
    "nothing": ([], -2),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("rows", [2, 50])
def test_answers_that_are_not_believed(kind: str, rows: int) -> None:
    """Each is refused, and the next request goes over another connection."""
    last, more = BAD[kind]

    async def answer(connection: Connection, call: str, _: int) -> None:
        connection.answer(call, np.asarray([*HALF * (rows + more), *last], "<f4").tobytes())

    async def run() -> None:
        predictor = Predictor(answer)
        async with predictor as client:
            for _ in range(3):
                with pytest.raises(RequestError, match="not believed") as caught:
                    await client.probabilities(np.zeros((rows, 3), dtype=np.float32))
                assert caught.value.status == 503
        assert predictor.connections == 3

    asyncio.run(run())


@pytest.mark.parametrize("call", [None, "0", "", "ffff"])
def test_the_answer_to_another_request(call: str | None) -> None:
    async def answer(connection: Connection, _: str, rows: int) -> None:
        connection.answer(call, [[0.5, 0.5]] * rows)

    async def run() -> None:
        async with Predictor(answer) as client:
            await expect(client, "another request")

    asyncio.run(run())


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b"null", b"[" * 500])
def test_an_answer_that_is_no_document(document: bytes) -> None:
    async def answer(connection: Connection, call: str, rows: int) -> None:
        connection.answer(call, [[0.5, 0.5]] * rows, document=document)

    async def run() -> None:
        async with Predictor(answer) as client:
            await expect(client, "not believed")

    asyncio.run(run())


@pytest.mark.parametrize("late", [False, True])
def test_a_second_answer_reaches_nobody(late: bool) -> None:
    """Whether it comes with the first, before the next request or after it: each gets its own result, or a 503."""

    async def answer(connection: Connection, call: str, rows: int) -> None:
        connection.answer(call, [row_for(call)] * rows)
        if late:
            await connection.writer.drain()
            await asyncio.sleep(0.01)
        connection.answer(call, [row_for(call)] * rows)

    async def run() -> None:
        async with Predictor(answer) as client:
            answered = 0
            for number in range(1, 61):
                with contextlib.suppress(RequestError):
                    # A call of its own, that it may be known which answer was taken for it.
                    probabilities = await client.probabilities(INPUTS, f"00-{number:032x}-{number:016x}-00")
                    assert np.allclose(probabilities, [row_for(f"{number:x}")] * 2)
                    answered += 1
                await asyncio.sleep(0.003 * (number % 4))
            assert answered

    asyncio.run(run())


ENDLESS = {
    "body": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 1000 + b"\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_without_end(kind: str) -> None:
    begin, part = ENDLESS[kind]

    async def answer(connection: Connection, _: str, __: int) -> None:
        connection.writer.write(begin)
        while True:
            connection.writer.write(part)
            await connection.writer.drain()

    async def run() -> None:
        async with Predictor(answer) as client:
            await expect(client, "cannot be reached")

    asyncio.run(run())


def test_what_comes_unasked_ends_the_connection() -> None:
    async def run() -> None:
        taken, ended = asyncio.Event(), asyncio.Event()

        async def answer(connection: Connection, call: str, rows: int) -> None:
            connection.answer(call, [row_for(call)] * rows)
            await taken.wait()
            connection.writer.write(b"HTTP/1.1 200 OK\r\n")
            await connection.reader.read()
            ended.set()

        predictor = Predictor(answer)
        async with predictor as client:
            for _ in range(5):
                taken.clear()
                ended.clear()
                await client.probabilities(INPUTS)
                taken.set()
                await asyncio.wait_for(ended.wait(), ANSWER)
        assert predictor.connections == 5

    asyncio.run(run())
