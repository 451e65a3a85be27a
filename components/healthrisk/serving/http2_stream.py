"""One request on an HTTP/2 connection: its body as it comes in, and its answer, as ASGI's messages."""

import asyncio
from typing import Any, Protocol
from urllib.parse import unquote

import orjson

from healthrisk.serving.body import Asgi, Message
from healthrisk.serving.deadline import Deadline

Headers = list[tuple[bytes, bytes]]
# HTTP/2 says by its frames what these say, and forbids them.
_OF_CONNECTION = frozenset({b"connection", b"transfer-encoding", b"keep-alive"})


class Carrier(Protocol):
    """The connection, as far as one request needs it."""

    def taken(self, stream: int, body_bytes: int, window_bytes: int) -> None:
        """Learn that so many bytes of a body are the application's now, and let the client send as many more."""
        ...

    def begin_answer(self, stream: int, headers: Headers, *, last: bool) -> None:
        """Send the answer's headers."""
        ...

    async def send_body(self, stream: int, body: bytes, *, last: bool) -> None:
        """Send a part of the answer's body, and return when most of it is on its way."""
        ...

    def close_soon(self) -> None:
        """Take no further request."""
        ...


class Stream:
    """A request and its answer."""

    def __init__(self, carrier: Carrier, number: int, scope: dict[str, Any]) -> None:
        self._carrier, self.number, self.scope = carrier, number, scope
        self._parts: list[bytes] = []
        self._window_bytes = 0
        self._changed = asyncio.Event()
        # Whether the application has had the last part of the body.
        self._taken = False
        # Whether the request has come in whole, nobody waits for the answer, the answer has begun and ended.
        self.complete = self.gone = self.begun = self.answered = False
        self.deadline = Deadline()

    def drop(self) -> tuple[int, int]:
        """Give up what waits of the body; return its bytes, and how many of the client's window they used."""
        body, window_bytes = self._take()
        return len(body), window_bytes

    def feed(self, body: bytes, window_bytes: int) -> None:
        """Take a part of the body, which used so many bytes of the client's window."""
        self._parts.append(body)
        self._window_bytes += window_bytes
        self._changed.set()

    def finish(self) -> None:
        """Learn that the request is whole."""
        self.complete = True
        self.deadline.cancel()
        self._changed.set()

    def leave(self) -> None:
        """Learn that nobody waits for the answer."""
        self.gone = True
        self.deadline.cancel()
        self._changed.set()

    async def run(self, app: Asgi) -> None:
        """Answer the request."""
        await app(self.scope, self._receive, self._send)

    async def refuse(self, status: int, message: str) -> None:
        """Answer with an error, if no answer has begun."""
        if not self.begun and not self.gone:
            body = orjson.dumps({"error": message})
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def _receive(self) -> Message:
        # After the last part nothing comes but the client's leaving.
        while not self.gone and not self._parts and (self._taken or not self.complete):
            self._changed.clear()
            await self._changed.wait()
        if self.gone:
            return {"type": "http.disconnect"}
        self._taken = self.complete
        body, window_bytes = self._take()
        self._carrier.taken(self.number, len(body), window_bytes)
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    def _take(self) -> tuple[bytes, int]:
        body, window_bytes = b"".join(self._parts), self._window_bytes
        self._parts, self._window_bytes = [], 0
        return body, window_bytes

    async def _send(self, message: Message) -> None:
        if self.gone or self.answered:
            return
        bodiless = self.scope["method"] == "HEAD"
        if message["type"] == "http.response.start":
            self.begun = True
            headers: Headers = [(b":status", b"%d" % message["status"])]
            for name, value in message["headers"]:
                if name == b"connection" and value == b"close":
                    self._carrier.close_soon()
                elif name not in _OF_CONNECTION:
                    headers.append((name, value))
            self.answered = bodiless
            self._carrier.begin_answer(self.number, headers, last=bodiless)
        else:
            last = not message.get("more_body", False)
            await self._carrier.send_body(self.number, message.get("body", b""), last=last)
            self.answered = last


def scope_of(headers: Headers, common: dict[str, Any]) -> dict[str, Any]:
    """Return a request's ASGI scope: what all requests of the connection have in common, and its own."""
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    path, _, query = pseudo.get(b":path", b"").partition(b"?")
    own = [(name, value) for name, value in headers if not name.startswith(b":")]
    if b":authority" in pseudo and not any(name == b"host" for name, _ in own):
        own.insert(0, (b"host", pseudo[b":authority"]))
    return common | {
        "method": pseudo[b":method"].decode("latin-1"),
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": own,
    }
