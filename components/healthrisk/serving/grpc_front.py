"""In front of gRPC: its connections and messages get the bounds of time, bytes and number that REST's have.

gRPC's own server counts no connections and gives no time to a message: eighty of 8 MB, half sent, would be held for as
long as their clients like. So it listens on a socket of this process only, and what clients send goes through here. Of
HTTP/2 no more is read than the nine bytes before each frame: which stream it belongs to, how long it is, whether it is
the last.
"""

import asyncio
from dataclasses import dataclass
from typing import cast

from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.connection_table import ConnectionTable
from healthrisk.serving.errors import RequestError
from healthrisk.serving.http2_frames import DATA, END_STREAM, HEADERS, PREFACE, RST_STREAM, Frame, FrameReader
from healthrisk.serving.reading_turns import PacedReading

# gRPC's clients wait for the server's settings before they send more than their own and a first call.
_EARLY_BYTES = 2**18
# A call of so few bytes, such as one for health, is let in whatever others hold: of all connections together these
# are 32 MiB at most.
_SMALL_BYTES = 2**10
# How often a connection is looked at, in parts of the time that a message may take.
_LOOKS = 4
# Whom the kernel lets wait for the event loop, as many as uvicorn does; of more it drops the first packet, and a client
# sends that again after a second, and after three.
_BACKLOG = 2048


@dataclass(slots=True)
class _Stream:
    """A call: when it began, in the loop's time, how many bytes have come in, and whether these are all."""

    began: float
    size: int = 0
    complete: bool = False


class GrpcFront(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, path: str, admission: AdmissionController, connections: ConnectionTable) -> None:
        self._path, self._admission, self._connections = path, admission, connections
        self._limits = admission.limits
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, _Stream] = {}
        self._frames = FrameReader(len(PREFACE))
        self._began = self._loop.time()
        self._unread_since: float | None = None
        self._upstream: asyncio.Transport | None = None
        # What comes in before there is an upstream.
        self._early = b""
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection if there is room, and connect it with gRPC's server."""
        self._transport = cast(asyncio.Transport, transport)
        self._reading = PacedReading(self._transport, self._admission.turns)
        self._client = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._connections.add(self._client, self):
            self._transport.abort()
            return
        self._look_later()

    def _begin(self) -> None:
        """Have gRPC's server listen to a client that speaks HTTP/2. One that says nothing would cost it as much."""
        if not self._early.startswith(PREFACE):
            self._transport.abort()
        elif self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            upstream, _ = await self._loop.create_unix_connection(lambda: _Upstream(self), self._path)
        except OSError:
            self._transport.abort()
            return
        self._upstream = upstream
        if self._transport.is_closing():
            upstream.abort()
        else:
            upstream.write(self._early)
            self._early = b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection and what it holds."""
        self._connections.remove(self._client, self)
        self._reading.end()
        for stream in list(self._streams):
            self._end(stream)
        if self._upstream is not None:
            self._upstream.abort()

    def data_received(self, data: bytes) -> None:
        """Pass on what a client sends, as long as it is within the bounds."""
        self._reading.received(len(data))
        for frame in self._frames.feed(data):
            if frame.kind == RST_STREAM:
                self._end(frame.stream)
            elif frame.kind in {DATA, HEADERS}:
                try:
                    self._receive(frame)
                except RequestError:
                    self._transport.abort()
                    return
        if self._upstream is not None:
            self._upstream.write(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES:
            self._transport.abort()
        elif len(self._early) >= len(PREFACE):
            self._begin()

    def _receive(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            if frame.kind == DATA:
                return
            stream = self._streams[frame.stream] = _Stream(self._loop.time())
        if frame.kind == DATA:
            stream.size += frame.length
            if stream.size <= _SMALL_BYTES:
                self._admission.count(frame.length)
            else:
                self._admission.hold(frame.length)
        stream.complete = stream.complete or bool(frame.flags & END_STREAM)

    def answer(self, data: bytes, frames: FrameReader) -> None:
        """Pass on what the server answers."""
        for frame in frames.feed(data):
            ends = frame.kind in {DATA, HEADERS} and frame.flags & END_STREAM
            if ends or frame.kind == RST_STREAM:
                self._end(frame.stream)
        self._transport.write(data)

    def _end(self, number: int) -> None:
        if (stream := self._streams.pop(number, None)) is not None:
            self._admission.hold(-stream.size)

    def may_leave(self) -> bool:
        """Say whether no call waits for its answer."""
        return not any(stream.complete for stream in self._streams.values())

    def leave(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def _look_later(self) -> None:
        self._loop.call_later(self._limits.request_seconds / _LOOKS, self._look)

    def _look(self) -> None:
        """End a connection that takes too long: to begin, to send a message, to take an answer."""
        if self._transport.is_closing():
            return
        since = [stream.began for stream in self._streams.values() if not stream.complete]
        if not self._frames.count:
            since.append(self._began)
        if self._unread_since is not None:
            since.append(self._unread_since)
        if since and self._loop.time() - min(since) > self._limits.request_seconds:
            self._transport.abort()
        else:
            self._look_later()

    def pause_writing(self) -> None:
        """Take no more answers from the server while the client does not read."""
        self._unread_since = self._loop.time()
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_writing(self) -> None:
        """Go on once the client has read."""
        self._unread_since = None
        if self._upstream is not None and not self._upstream.is_closing():
            self._upstream.resume_reading()

    def pause_reading(self) -> None:
        """Take nothing from the client while gRPC's server does not read."""
        self._reading.block()

    def resume_reading(self) -> None:
        """Go on once gRPC's server has read."""
        self._reading.unblock()

    def close(self) -> None:
        """Close when gRPC's server does, after what it has answered."""
        self._transport.close()


class _Upstream(asyncio.Protocol):
    """The other side of a client's connection: that to gRPC's server."""

    def __init__(self, front: GrpcFront) -> None:
        self._front = front
        self._frames = FrameReader()

    def data_received(self, data: bytes) -> None:
        self._front.answer(data, self._frames)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._front.close()

    def pause_writing(self) -> None:
        self._front.pause_reading()

    def resume_writing(self) -> None:
        self._front.resume_reading()


async def listen(host: str, port: int, path: str, admission: AdmissionController) -> asyncio.Server:
    """Accept clients on a port, for the gRPC server that listens on the socket at `path`.

    Raises:
        OSError: the port is taken.
    """
    connections = ConnectionTable(admission.limits.max_grpc_connections)
    return await asyncio.get_running_loop().create_server(
        lambda: GrpcFront(path, admission, connections), host, port, backlog=_BACKLOG
    )
