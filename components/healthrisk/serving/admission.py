"""Admission: how many requests are under way, how many may be, and whether the server is on its way out."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from healthrisk.serving import memory
from healthrisk.serving.errors import RequestError, unavailable
from healthrisk.serving.reading_turns import ReadingTurns

Result = TypeVar("Result")
# What is larger is worked on beside the event loop.
LARGE_BYTES = 2**18
# Before what is worked on by a thread: others' connections, requests and answers take several turns of the event loop.
_PAUSE_SECONDS_PER_BYTE = 0.005 / 2**20


@dataclass(frozen=True)
class Limits:
    """What one server accepts. Times are in seconds, sizes in bytes."""

    max_rows: int = 100_000
    max_body_bytes: int = 8 * 2**20
    # Of memory, for what one body becomes when it is parsed: bodies are parsed one after the other.
    max_parsed_bytes: int = 176 * 2**20
    max_header_bytes: int = 16 * 2**10
    max_in_flight: int = 128
    # Of all requests together: bodies that come in, rows that wait for the predictor, answers on their way out.
    max_held_bytes: int = 64 * 2**20
    max_connections: int = 2048
    # Of HTTP/2 for REST, each of which carries up to a hundred requests.
    max_http2_connections: int = 64
    # One of them carries many calls, and takes gRPC's server a hundred kilobytes.
    max_grpc_connections: int = 256
    max_grpc_calls: int = 128
    # From a request's first byte to its last, and as long again for a client to take a large answer.
    request_seconds: float = 10.0
    # For an answer that takes computing: an explanation.
    answer_seconds: float = 10.0
    # How long a gRPC connection may stay without a call; clients make a new one by themselves.
    idle_seconds: float = 60.0
    # How long a server that was asked to stop goes on answering, so that whoever sends requests learns of it.
    drain_seconds: float = 3.0


class AdmissionController:
    """Counts requests in and out; at the limit it refuses at once, which costs less than a queue nobody waits for."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.held_bytes = 0
        self.draining = False
        self.turns = ReadingTurns()
        self._turn = asyncio.Lock()
        # Of large requests and answers, since memory was last given back: that takes some milliseconds.
        self._worked_bytes = 0
        # One thread, so that work which nobody waits for any more is over before the next begins.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large")

    def enter(self) -> None:
        """Let one request in.

        Raises:
            RequestError: 503, as many are under way as are allowed.
        """
        if self.in_flight >= self.limits.max_in_flight:
            raise unavailable("overloaded", f"overloaded: {self.in_flight} requests are under way")
        self.in_flight += 1

    def leave(self, size: int) -> None:
        """Let one request out, of which so many bytes are held."""
        self.in_flight -= 1
        self.held_bytes -= size

    def hold(self, size: int) -> None:
        """Count bytes that a request which is in holds; fewer than none are given back.

        Raises:
            RequestError: 503, all requests together have too many.
        """
        self.count(size)
        if size > 0 and self.held_bytes > self.limits.max_held_bytes:
            raise unavailable("overloaded", f"overloaded: requests of {self.held_bytes} bytes are under way")

    def count(self, size: int) -> None:
        """Count bytes that are held whatever others hold."""
        self.held_bytes += size

    async def work(self, size: int, work: Callable[[], Result]) -> Result:
        """Do work on a request or answer of so many bytes: at once, or, if it is large, on a thread of its own.

        Meanwhile the server answers others, who ask for health.
        """
        if size <= LARGE_BYTES:
            return work()

        async def on_thread() -> Result:
            # Working threads hold Python's lock most of the time.
            await asyncio.sleep(size * _PAUSE_SECONDS_PER_BYTE)
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

        return await self.alone(size, on_thread)

    async def alone(self, size: int, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do large work of so many bytes when nothing else that is large is worked on: it may take much memory.

        What was begun goes on to its end, although nobody may wait for it any more.
        """
        await self._turn.acquire()
        working = asyncio.ensure_future(self._work_and_give_back(size, work))
        working.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(working)

    async def _work_and_give_back(self, size: int, work: Callable[[], Awaitable[Result]]) -> Result:
        refusal = None
        try:
            result = await work()
        except RequestError as error:
            refusal = error.without_traceback()
        self._worked_bytes += size
        if self._worked_bytes >= self.limits.max_body_bytes:
            self._worked_bytes = 0
            await asyncio.get_running_loop().run_in_executor(self._thread, memory.give_back)
        if refusal is not None:
            raise refusal
        return result

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count bytes of an answer while a client takes it."""
        self.count(size)
        try:
            yield
        finally:
            self.count(-size)

    @contextmanager
    def release_slot(self) -> Iterator[None]:
        """Let a request that is in wait outside for its body, so that slow clients keep nobody out.

        Raises:
            RequestError: 503, as many are under way as are allowed when the body is there.
        """
        self.in_flight -= 1
        try:
            yield
            self.enter()
        except BaseException:
            self.in_flight += 1
            raise
