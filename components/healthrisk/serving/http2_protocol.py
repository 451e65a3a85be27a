"""HTTP/2 for clients that begin with it (h2c by prior knowledge), within HTTP/1.1's bounds.

The package h2 keeps the protocol's state. Here is what it does not bound: time for request and answer, bytes of
headers that come in pieces, and bodies that wait.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.connection_table import ConnectionTable
from healthrisk.serving.deadline import Deadline
from healthrisk.serving.http2_frames import CONTINUATION, END_HEADERS, HEADERS, PREFACE, FrameReader
from healthrisk.serving.http2_stream import Headers, Stream, scope_of
from healthrisk.serving.reading_turns import PacedReading

# What RFC 9113 advises at the least.
_STREAMS = 100


class Http2Protocol(asyncio.Protocol):
    """One connection, which `origin` accepted and leaves to this protocol."""

    def __init__(self, origin: HttpToolsProtocol, admission: AdmissionController, table: ConnectionTable) -> None:
        self._origin, self._admission, self._table = origin, admission, table
        self._limits = admission.limits
        self._transport, self._loop = origin.transport, origin.loop
        self._reading = PacedReading(self._transport, admission.turns)
        self._client = origin.client[0] if origin.client else ""
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
            },
        )
        self._frames = FrameReader(len(PREFACE))
        self._header_bytes = 0
        self._streams: dict[int, Stream] = {}
        self._closing = False
        # Set by whatever may let an answer go on: windows, the transport's buffer, the end.
        self._progress = asyncio.Event()
        # Of a connection on which nothing is asked, and of a client that does not take its answers.
        self._idle, self._stalled = Deadline(), Deadline()
        self._common = {
            "type": "http",
            "asgi": {"version": origin.asgi_version, "spec_version": "2.3"},
            "http_version": "2",
            "server": origin.server,
            "client": origin.client,
            "scheme": origin.scheme,
            "root_path": origin.root_path,
        }

    def begin(self) -> None:
        """Take the connection over, if there is room for it."""
        self._origin.connections.add(self)  # type: ignore[arg-type]
        self._transport.set_protocol(self)
        # h2 follows its own settings only when they change.
        self._h2.decoder.max_header_list_size = self._limits.max_header_bytes
        self._h2.initiate_connection()
        if self._table.add(self._client, self):
            self._flush()
            # A connection on which nothing is ever asked has as long as a request that does not come in.
            self._idle.set(self._limits.request_seconds, self._end, ErrorCodes.NO_ERROR)
        else:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection, and tell those who answer."""
        self._origin.connections.discard(self)
        self._table.remove(self._client, self)
        self._reading.end()
        self._idle.cancel()
        for number in list(self._streams):
            self._forget(number)
        self._progress.set()

    def may_leave(self) -> bool:
        """Say whether no request that has come in whole waits for its answer."""
        return not any(stream.complete for stream in self._streams.values())

    def leave(self) -> None:
        """Close the connection to make room for another."""
        self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    def shutdown(self) -> None:
        """Close when the server goes, after the answers under way."""
        self._closing = True
        if not self._streams:
            self._end(ErrorCodes.NO_ERROR)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends; what is not HTTP/2 ends the connection."""
        if self._transport.is_closing():
            return
        self._reading.received(len(data))
        for frame in self._frames.feed(data):
            if frame.kind in {HEADERS, CONTINUATION}:
                self._header_bytes += frame.length
                if self._header_bytes > self._limits.max_header_bytes:
                    self._end(ErrorCodes.ENHANCE_YOUR_CALM)
                    return
                if frame.flags & END_HEADERS:
                    self._header_bytes = 0
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except ProtocolError:
            # h2 has made the GOAWAY that says why.
            self._close()
            return
        self._progress.set()
        self._flush()

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin_request(event.stream_id, event.headers)
        elif isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is None:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                self._admission.held_bytes += len(event.data)
                stream.feed(event.data, event.flow_controlled_length)
        elif isinstance(event, StreamEnded):
            if (stream := self._streams.get(event.stream_id)) is not None:
                stream.finish()
        elif isinstance(event, StreamReset):
            self._forget(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            self._close()

    def _begin_request(self, number: int, headers: Headers) -> None:
        if self._closing:
            self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        self._idle.cancel()
        scope = scope_of(headers, self._common | {"state": self._origin.app_state.copy()})
        stream = self._streams[number] = Stream(self, number, scope)
        stream.deadline.set(self._limits.request_seconds, self._expire, stream)
        self._answer(stream, stream.run(self._origin.app))

    def _answer(self, stream: Stream, answering: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(answering)
        self._origin.tasks.add(task)
        task.add_done_callback(self._origin.tasks.discard)
        task.add_done_callback(lambda done: self._finish(stream, done))

    def _expire(self, stream: Stream) -> None:
        seconds = self._limits.request_seconds
        self._answer(stream, stream.refuse(408, f"the request did not come in within {seconds:g} s"))

    def _finish(self, stream: Stream, done: asyncio.Task[None]) -> None:
        """Forget a request that is answered; of one that is not whole the rest is not wanted."""
        if not done.cancelled() and (error := done.exception()) is not None:
            self._origin.logger.error("an application failed", exc_info=error)
        if self._streams.get(stream.number) is stream:
            if not (stream.complete and stream.answered):
                self._reset(stream.number, ErrorCodes.NO_ERROR if stream.answered else ErrorCodes.INTERNAL_ERROR)
            self._forget(stream.number)
            self._flush()

    def _reset(self, number: int, code: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(number, code)

    def _forget(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.leave()
        self.taken(number, *stream.drop())
        if not self._streams and not self._transport.is_closing():
            if self._closing:
                self._end(ErrorCodes.NO_ERROR)
            else:
                self._idle.set(self._origin.timeout_keep_alive, self._end, ErrorCodes.NO_ERROR)

    def taken(self, stream: int, body_bytes: int, window_bytes: int) -> None:
        """Learn that so many bytes of a body are the application's now, and let the client send as many more."""
        self._admission.held_bytes -= body_bytes
        if window_bytes and not self._transport.is_closing():
            with contextlib.suppress(ProtocolError):
                self._h2.acknowledge_received_data(window_bytes, stream)
            self._flush()

    def begin_answer(self, stream: int, headers: Headers, *, last: bool) -> None:
        """Send the answer's headers."""
        with contextlib.suppress(ProtocolError):
            self._h2.send_headers(stream, headers, end_stream=last)
        self._flush()

    async def send_body(self, stream: int, body: bytes, *, last: bool) -> None:
        """Send a part of the answer's body, and return when it is on its way."""
        view = memoryview(body)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while True:
                    room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
                    if self._stalled.is_set or (view and not room):
                        self._progress.clear()
                        await self._progress.wait()
                        continue
                    piece, view = bytes(view[:room]), view[room:]
                    self._h2.send_data(stream, piece, end_stream=last and not view)
                    self._flush()
                    if not view:
                        return
        except TimeoutError:
            self._transport.abort()
        except ProtocolError:
            # The client has left this request, or the connection.
            self._forget(stream)

    def close_soon(self) -> None:
        """Take no further request."""
        self._closing = True

    def pause_writing(self) -> None:
        """Read no more while the client does not, and not for ever."""
        self._reading.block()
        self._stalled.set(self._limits.request_seconds, self._transport.abort)

    def resume_writing(self) -> None:
        """Go on once the client has read."""
        self._stalled.cancel()
        self._reading.unblock()
        self._progress.set()

    def _flush(self) -> None:
        if not self._transport.is_closing() and (data := self._h2.data_to_send()):
            self._transport.write(data)

    def _end(self, code: ErrorCodes) -> None:
        """Say why, and close."""
        with contextlib.suppress(ProtocolError):
            self._h2.close_connection(code)
        self._close()

    def _close(self) -> None:
        self._flush()
        self._transport.close()
