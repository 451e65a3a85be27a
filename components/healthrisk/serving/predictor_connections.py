"""HTTP/1.1 connections to the predictor: long-lived, one request at a time on each.

A request that loses its connection before the answer is sent once more on a new one: inference has no side effects, and
a predictor that restarts or rolls closes connections that were idle.

They are written by hand because maintained clients cost more behind the same batcher: of the transformer's CPU time a
call takes 2.5 times as much by aiohttp and 8 times by httpcore, and a request among 32 at once 1.9 and 4.9 times
(`make benchmark-hop`).
"""

import asyncio
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools

CONNECT_SECONDS = 0.5
# A connection stays with one replica of the predictor; giving it up from time to time spreads load over new ones.
CONNECTION_SECONDS = 60.0


@dataclass(frozen=True)
class PredictorAddress:
    """Where the predictor is, and how long an answer may take."""

    host: str
    port: int
    timeout: float
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, authority: str, timeout: float, tls: ssl.SSLContext | None = None) -> "PredictorAddress":
        """Read HOST or HOST:PORT; the port is by default that of the scheme."""
        host, _, port = authority.rpartition(":")
        if not host:
            host, port = authority, "443" if tls else "80"
        return cls(host, int(port), timeout, tls)


class ConnectionLostError(Exception):
    """The predictor closed a connection before it had answered."""


@dataclass(slots=True)
class Answer:
    """A predictor's answer; its body is `json_length` bytes of JSON, then the tensor."""

    status: int
    json_length: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, with one request under way at most.

    What comes unasked may be the late answer to another request, so it ends the connection.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.opened = time.monotonic()
        self.closed = False
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._json_length = 0
        self._expected_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionLostError(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        self._expected_bytes -= len(data)
        if self._expected_bytes < 0:
            self._abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._abort()

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self._abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"inference-header-content-length":
            self._json_length = int(value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.closed = True
            self.transport.close()
        if self._answer and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), self._json_length, b"".join(self._body)))

    def _abort(self) -> None:
        self.closed = True
        self.transport.abort()

    async def exchange(self, message: bytes, deadline: float, most_bytes: int) -> Answer:
        """Send a request and return its answer, of at most so many bytes. `deadline` is in the loop's time."""
        loop = asyncio.get_running_loop()
        self._body, self._json_length, self._expected_bytes = [], 0, most_bytes
        self._answer = loop.create_future()
        alarm = loop.call_at(deadline, self._expire)
        self.transport.write(message)
        try:
            return await self._answer
        finally:
            alarm.cancel()
            if not self._answer.done() or self._answer.cancelled():
                # Its answer may still come, and must not be taken for the next one's.
                self._abort()
            self._answer, self._expected_bytes = None, 0

    def _expire(self) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(TimeoutError())
            self._abort()


class ConnectionPool:
    """Connections to one predictor, of which the idle ones are kept."""

    def __init__(self, address: PredictorAddress) -> None:
        self._address = address
        self._idle: deque[_Connection] = deque()

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().transport.close()

    async def post(self, message: bytes, deadline: float, most_bytes: int) -> Answer:
        """Send a whole request and return its answer, of at most so many bytes. `deadline` is in the loop's time.

        Raises:
            TimeoutError: there is no answer in time.
            OSError: no connection can be made.
            ConnectionLostError: connections are made, and closed before they answer, or answer with more.
        """
        connection = self._reuse()
        if connection is not None:
            try:
                return await self._exchange(connection, message, deadline, most_bytes)
            except ConnectionLostError:
                self.close()
        try:
            return await self._exchange(await self._connect(deadline), message, deadline, most_bytes)
        except ConnectionLostError:
            return await self._exchange(await self._connect(deadline), message, deadline, most_bytes)

    async def _exchange(self, connection: _Connection, message: bytes, deadline: float, most_bytes: int) -> Answer:
        answer = await connection.exchange(message, deadline, most_bytes)
        if answer.status == 404:
            # Another version is served there.
            connection.transport.close()
        elif not connection.closed:
            self._idle.append(connection)
        return answer

    def _reuse(self) -> _Connection | None:
        while self._idle:
            # The one used last is the least likely to have been closed; the others grow old and are given up.
            connection = self._idle.pop()
            if not connection.closed:
                if time.monotonic() - connection.opened < CONNECTION_SECONDS:
                    return connection
                connection.transport.close()
        return None

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + CONNECT_SECONDS)):
                _, connection = await loop.create_connection(
                    _Connection, self._address.host, self._address.port, ssl=self._address.tls
                )
        except TimeoutError:
            raise ConnectionLostError("no connection in time") from None
        return connection
