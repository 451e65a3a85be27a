"""The hop from transformer to predictor: v2 over HTTP with binary tensors, on long-lived connections.

Rows of requests that arrive together go together: what is asked within one turn of the event loop is one call. Under
load the hop's cost is so shared by several requests; alone, a request waits for nothing. A request with a trace context
goes by itself, so that its trace stays its own.

Each connection carries one request at a time. A request that loses its connection before the answer is sent once more
on a new one: inference has no side effects, and a predictor that restarts or rolls closes connections that were idle.
So is one that reaches a predictor of another version: while predictors roll, a new connection may lead to an old one.
"""

import asyncio
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools
import numpy as np
from numpy.typing import NDArray

from healthrisk.serving.errors import RequestError, unavailable

CONNECT_SECONDS = 0.5
# A connection stays with one replica of the predictor; giving it up from time to time spreads load over new ones.
CONNECTION_SECONDS = 60.0
_SHARED_ROWS = 256
# Larger tables go in pieces, between which the predictor answers others: a forest takes 3 ms for a thousand rows.
_CALL_ROWS = 4096
# With half of the replicas rolled, one request in 64 meets none of its version.
_VERSION_ATTEMPTS = 6


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
class _Answer:
    """An answer; its body is `json_length` bytes of JSON, then the tensor."""

    status: int
    json_length: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, with one request under way at most."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.opened = time.monotonic()
        self.closed = False
        self._answer: asyncio.Future[_Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._json_length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionLostError(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

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
            self._answer.set_result(_Answer(self._parser.get_status_code(), self._json_length, b"".join(self._body)))

    async def exchange(self, message: bytes, deadline: float) -> _Answer:
        """Send a request and return the answer's status and body. `deadline` is in the loop's time."""
        loop = asyncio.get_running_loop()
        self._body, self._json_length = [], 0
        self._answer = loop.create_future()
        alarm = loop.call_at(deadline, self._expire)
        self.transport.write(message)
        try:
            return await self._answer
        finally:
            alarm.cancel()
            if not self._answer.done() or self._answer.cancelled():
                # Its answer may still come, and must not be taken for the next one's.
                self.closed = True
                self.transport.abort()
            self._answer = None

    def _expire(self) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(TimeoutError())
            self.closed = True
            self.transport.abort()


@dataclass(slots=True)
class _Waiting:
    """Model inputs [rows, width], and where their probabilities are awaited."""

    inputs: NDArray[np.float32]
    answer: asyncio.Future[NDArray[np.float32]]


class PredictorClient:
    """Asks a predictor for the probabilities of model inputs [rows, width]."""

    def __init__(self, address: PredictorAddress, model: str, version: str) -> None:
        self._address = address
        # Asking for the version makes a predictor that serves another one refuse, instead of scoring inputs made
        # for a different model.
        self._start = (
            f"POST /v2/models/{model}/versions/{version}/infer HTTP/1.1\r\n"
            f"host: {address.host}:{address.port}\r\ncontent-type: application/octet-stream\r\n"
        ).encode()
        self._idle: deque[_Connection] = deque()
        self._waiting: list[_Waiting] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def probabilities(self, inputs: NDArray[np.float32], traceparent: str = "") -> NDArray[np.float32]:
        """Return class probabilities [rows, classes].

        Raises:
            RequestError: 503 if the predictor cannot be reached or refuses, 504 if it does not answer in time.
        """
        if traceparent:
            return await self._call(inputs, f"traceparent: {traceparent}\r\n".encode())
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._depart)
        self._waiting.append(_Waiting(inputs, answer))
        try:
            return await answer
        finally:
            # As in exchange(): a frame that refers to its own exception is freed late.
            del answer

    def _depart(self) -> None:
        """Send what is waiting, in calls of at most `_SHARED_ROWS` rows unless one request alone has more."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            rows, taken = len(waiting[0].inputs), 1
            while taken < len(waiting) and rows + len(waiting[taken].inputs) <= _SHARED_ROWS:
                rows += len(waiting[taken].inputs)
                taken += 1
            call = asyncio.ensure_future(self._share(waiting[:taken]))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            waiting = waiting[taken:]

    async def _share(self, together: list["_Waiting"]) -> None:
        """Make one call for several requests, and give each its rows, or an error of its own."""
        inputs = together[0].inputs if len(together) == 1 else np.concatenate([one.inputs for one in together])
        try:
            probabilities = await self._call(inputs, b"")
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            for one in together:
                if not one.answer.done():
                    one.answer.set_exception(error.bare() if isinstance(error, RequestError) else error)
            return
        start = 0
        for one in together:
            end = start + len(one.inputs)
            if not one.answer.done():
                one.answer.set_result(probabilities[start:end])
            start = end

    async def _call(self, inputs: NDArray[np.float32], headers: bytes) -> NDArray[np.float32]:
        deadline = asyncio.get_running_loop().time() + self._address.timeout
        starts = range(0, len(inputs), _CALL_ROWS)
        parts = [await self._ask(inputs[start : start + _CALL_ROWS], headers, deadline) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def _ask(self, inputs: NDArray[np.float32], headers: bytes, deadline: float) -> NDArray[np.float32]:
        message = self._message(inputs, headers)
        try:
            for _ in range(_VERSION_ATTEMPTS):
                answer = await self._send(message, deadline)
                if answer.status != 404:
                    break
        except TimeoutError:
            raise RequestError(
                504, "predictor_timeout", f"the predictor did not answer within {self._address.timeout:g} s"
            ) from None
        except (OSError, ConnectionLostError) as error:
            raise unavailable("predictor_down", f"the predictor cannot be reached: {type(error).__name__}") from error
        if answer.status != 200:
            raise unavailable(
                "predictor_refused",
                f"the predictor answered {answer.status}; it may be starting, or serve another version",
            )
        return _read_probabilities(answer, len(inputs))

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().transport.close()

    async def _send(self, message: bytes, deadline: float) -> _Answer:
        connection = self._reuse()
        if connection is not None:
            try:
                return await self._exchange(connection, message, deadline)
            except ConnectionLostError:
                self.close()
        try:
            return await self._exchange(await self._connect(deadline), message, deadline)
        except ConnectionLostError:
            return await self._exchange(await self._connect(deadline), message, deadline)

    async def _exchange(self, connection: _Connection, message: bytes, deadline: float) -> _Answer:
        answer = await connection.exchange(message, deadline)
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

    def _message(self, inputs: NDArray[np.float32], headers: bytes) -> bytes:
        raw = inputs.tobytes()
        head = (
            b'{"inputs":[{"name":"features","datatype":"FP32","shape":[%d,%d],"parameters":{"binary_data_size":%d}}],'
            % (
                *inputs.shape,
                len(raw),
            )
            + b'"parameters":{"binary_data_output":true}}'
        )
        return b"%binference-header-content-length: %d\r\ncontent-length: %d\r\n%b\r\n%b%b" % (
            self._start,
            len(head),
            len(head) + len(raw),
            headers,
            head,
            raw,
        )


def _read_probabilities(answer: _Answer, rows: int) -> NDArray[np.float32]:
    try:
        result: NDArray[np.float32] = np.frombuffer(answer.body, "<f4", offset=answer.json_length).reshape(rows, -1)
    except ValueError as error:
        raise unavailable(
            "predictor_refused", "the predictor's answer is not one row of FP32 for each row asked"
        ) from error
    return result
