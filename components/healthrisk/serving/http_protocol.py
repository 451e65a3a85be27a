"""Uvicorn's HTTP protocol with the limits it lacks: of time for a whole request, of headers, of connections."""

import asyncio
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from healthrisk.serving.gate import Limits

_LINGER_SECONDS = 0.3


class LimitedProtocol(HttpToolsProtocol):
    """One connection. A request that does not come in whole within the limits ends it, answered where possible."""

    limits = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        # From the first byte of a request to its last; true also before the first request, so that a connection
        # on which nothing is ever sent ends too.
        self._incomplete = True
        self._in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "too many connections")
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._unwatch()

    def data_received(self, data: bytes) -> None:
        """Parse what has come in, and watch the clock while a request is not whole."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._incomplete and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.max_header_bytes:
                self._refuse(431, f"the headers have more than {self.limits.max_header_bytes} bytes")
        if not self._incomplete:
            self._unwatch()
        elif self._deadline is None:
            self._watch()

    def shutdown(self) -> None:
        """Close when the server goes: at once after the answer under way, or a moment later where none is.

        A request may be on its way on an idle connection; it still gets its answer, and that one closes.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._incomplete = self._in_head = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, up to the limit."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self.limits.max_header_bytes:
            raise httptools.HttpParserError(f"the headers have more than {self.limits.max_header_bytes} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the headers."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request."""
        self._incomplete = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has too many headers, in JSON."""
        if self._head_bytes > self.limits.max_header_bytes:
            self._refuse(431, f"the headers have more than {self.limits.max_header_bytes} bytes")
        else:
            self._refuse(400, msg)

    def _watch(self) -> None:
        self._deadline = self.loop.call_later(self.limits.request_seconds, self._expire)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._refuse(408, f"the request did not come in within {self.limits.request_seconds:g} s")

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close. An application that waits for the body is told that the client is gone."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = orjson.dumps({"error": message})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
