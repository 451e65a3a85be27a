"""Uvicorn's HTTP protocol with the limits it lacks: of time for request and answer, of headers, of connections, and of
requests that a client sends before it has its answers.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from healthrisk.serving import http_head
from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.connection_table import ConnectionTable
from healthrisk.serving.deadline import Deadline
from healthrisk.serving.http2_frames import PREFACE
from healthrisk.serving.http2_protocol import Http2Protocol

_LINGER_SECONDS = 0.3
_HEAD_END = b"\r\n\r\n"
# So many requests may come in one piece before the first is answered; of more, the rest is read when its turn comes.
_PIPELINED = 8
_PIECE_BYTES = 512


@dataclass(frozen=True)
class Tables:
    """Who is connected, by what they speak."""

    http1: ConnectionTable
    http2: ConnectionTable


class LimitedProtocol(HttpToolsProtocol):
    """One connection. A request that does not come in whole within the limits ends it, answered where possible."""

    def __init__(self, *args: Any, admission: AdmissionController, tables: Tables, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.admission, self.limits = admission, admission.limits
        self._table, self._http2_table = tables.http1, tables.http2
        # What has come in so far, as long as it may be the preface of HTTP/2.
        self._opening: bytes | None = b""
        self._deadline, self._write_deadline = Deadline(), Deadline()
        # Bytes of the head: as parsed, and as they come in pieces in which it neither begins nor ends.
        self._parsed_bytes = self._raw_bytes = 0
        self._begun = False
        self._answering: RequestResponseCycle | None = None
        # From the first byte of a request to its last; true also before the first request, so that a connection
        # on which nothing is ever sent ends too.
        self._incomplete = True
        self._in_head = True
        # What came after requests that are not answered yet, and how many bytes of these are counted as held.
        self._unread = b""
        self._held_bytes = 0
        self._fault = ""
        self._last_answer: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection if there is room for it."""
        super().connection_made(transport)
        self._host = self.client[0] if self.client else ""
        if self._table.add(self._host, self):
            self._watch()
        else:
            self._refuse(503, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        # Of pipelined requests uvicorn notifies only the last; the one being answered would go on writing.
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)
        self._table.remove(self._host, self)
        self._release()
        self._unread = b""
        self._deadline.cancel()
        self._write_deadline.cancel()

    def may_leave(self) -> bool:
        """Say whether no request that has come in whole waits for its answer."""
        return self._incomplete or self.cycle is None or self.cycle.response_complete

    def leave(self) -> None:
        """Close the connection to make room for another."""
        self._refuse(503, "too many connections")

    def data_received(self, data: bytes) -> None:
        """Parse what has come in, and watch the clock while a request is not whole."""
        if self.transport.is_closing() or self._last_answer is not None:
            return
        if self._opening is not None:
            data = self._opening + data
            if PREFACE.startswith(data[: len(PREFACE)]):
                self._opening = data
                if len(data) >= len(PREFACE):
                    self._leave_to_http2(data)
                return
            self._opening = None
        self._unset_keepalive_if_required()
        # Of a body, which holds no line end as a rule, nothing is looked at twice.
        if self._unread or data.count(_HEAD_END, 0, data.rfind(b"\r") + 3) > _PIPELINED:
            self._unread += data
            self._read_on()
        else:
            self._parse(data)
        self._hold()

    def _leave_to_http2(self, data: bytes) -> None:
        self._deadline.cancel()
        self.connections.discard(self)
        self._table.remove(self._host, self)
        protocol = Http2Protocol(self, self.admission, self._http2_table)
        protocol.begin()
        protocol.data_received(data)

    def _read_on(self) -> None:
        """Parse what is unread, as long as no request waits for the answer to the one before it."""
        unread, position = memoryview(self._unread), 0
        while position < len(unread) and not self.pipeline and self._last_answer is None and self.parser:
            if self.transport.is_closing():
                break
            self._parse(bytes(unread[position : position + _PIECE_BYTES]))
            position += _PIECE_BYTES
        self._unread = self._unread[position:]
        if self._unread:
            # With what waits here the client is not late.
            self.flow.pause_reading()
            self._deadline.cancel()
        elif self._incomplete and not self._deadline.is_set:
            self._watch()

    def _hold(self) -> None:
        """Count what waits behind the request being answered, and give up where all together is too much."""
        if not (self._unread or self.pipeline or self._held_bytes):
            return
        waiting = len(self._unread) + sum(len(cycle.body) for cycle, _ in self.pipeline)
        if waiting != self._held_bytes:
            self.admission.held_bytes += waiting - self._held_bytes
            self._held_bytes = waiting
            if self.admission.held_bytes > self.limits.max_held_bytes:
                self.transport.abort()

    def _release(self) -> None:
        self.admission.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _parse(self, data: bytes) -> None:
        self._begun = False
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse_malformed()
            return
        if self._incomplete and self._in_head and not self._begun:
            self._raw_bytes += len(data)
            if self._raw_bytes > self.limits.max_header_bytes:
                self._refuse_malformed()
        if not self._incomplete:
            self._deadline.cancel()
        elif not self._deadline.is_set and not self._unread:
            self._watch()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An offer of another protocol may be ignored, and Java's client makes one with its first request; but the
            # parser drops that request's body. So the request is read again without the offer.
            line = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (*line, http_head.without_offer(self.headers))
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head + data[upgrade.args[0] :])

    def pause_writing(self) -> None:
        """Watch the clock while a client does not take its answer."""
        super().pause_writing()
        self._write_deadline.set(self.limits.request_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on once a client has taken most of its answer."""
        super().resume_writing()
        self._write_deadline.cancel()

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
        self._incomplete = self._in_head = self._begun = True
        self._parsed_bytes = self._raw_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address, which counts as a header does."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, up to the limit."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the headers."""
        if not self.parser.should_upgrade():
            self._fault = http_head.fault(self.headers, self.parser.get_http_version())
            if self._fault:
                raise httptools.HttpParserError(self._fault)
            self._in_head = False
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request."""
        if not self.parser.should_upgrade():
            self._incomplete = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what has come in since, or close if that was no request."""
        self._answering = None
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._unread:
            self._unset_keepalive_if_required()
            self._read_on()
        self._hold()
        if self._last_answer is not None and not self.pipeline and self._answering is None:
            self._answer_last(*self._last_answer)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _count(self, size: int) -> None:
        self._parsed_bytes += size
        if self._parsed_bytes > self.limits.max_header_bytes:
            raise httptools.HttpParserError("the headers are too large")

    def _refuse_malformed(self) -> None:
        """Refuse what is not HTTP, or has too large headers."""
        limit = self.limits.max_header_bytes
        if max(self._parsed_bytes, self._raw_bytes) > limit:
            self._refuse(431, f"the headers have more than {limit} bytes")
        else:
            self._refuse(400, self._fault or "this is not a valid HTTP/1.1 request")

    def _watch(self) -> None:
        self._deadline.set(self.limits.request_seconds, self._expire)

    def _expire(self) -> None:
        self._refuse(408, f"the request did not come in within {self.limits.request_seconds:g} s")

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close. An application that waits for the body learns that the client is gone."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if not self._in_head and self.pipeline and self.pipeline[0][0] is cycle:
            # The request whose body is bad was not begun, as others before it are not answered yet.
            self.pipeline.popleft()
            self._last_answer = (status, message)
        elif self._in_head and cycle is not None and not cycle.response_complete:
            # While a head comes in, the cycle is the previous request's, which must have its answer first.
            self._last_answer = (status, message)
        elif self._in_head or not cycle.response_started:
            self._answer_last(status, message)
        else:
            self.transport.close()

    def _answer_last(self, status: int, message: str) -> None:
        """Answer, and close."""
        self.transport.write(http_head.refusal(status, message))
        self.transport.close()
