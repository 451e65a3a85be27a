"""A request's body as it comes in: bounded, and dropped where it is refused."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from healthrisk.serving import compression
from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import RequestError, too_large
from healthrisk.serving.headers import Headers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
# After a refusal the rest of a body is read and dropped for so long, or the client may never see the answer.
_DISCARD_SECONDS = 1.0


class Body:
    """The body of one request, of which nothing has been read yet."""

    def __init__(self, headers: Headers, receive: Receive, admission: AdmissionController) -> None:
        self._headers, self._receive, self._admission = headers, receive, admission
        self.complete = False

    async def read(self, context: Context) -> bytes:
        """Return the whole body, unpacked, refusing it as soon as it is known to be too large.

        Raises:
            RequestError: it is too large, or the client went away.
        """
        limit = self._admission.limits.max_body_bytes
        announced = self._headers.get(b"content-length")
        if announced is not None and int(announced) > limit:
            raise too_large(f"the body has {int(announced)} bytes, at most {limit} are allowed")
        parts: list[bytes] = []
        with self._admission.release_slot():
            while not self.complete:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(499, "disconnected", "the client went away before its request had come in")
                parts.append(message["body"])
                self.complete = not message["more_body"]
                context.hold(len(parts[-1]))
                if context.size > limit:
                    raise too_large(f"the body has more than {limit} bytes")
        await self._admission.turn(context.size)
        if (encoding := self._headers.get(b"content-encoding", b"identity").decode().lower()) == "identity":
            return b"".join(parts)
        body = compression.unpack(b"".join(parts), encoding, limit)
        context.hold_instead(len(body))
        return body

    async def discard(self) -> None:
        """Drop what still comes, for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while (await self._receive()).get("more_body"):
                    continue

    async def left(self) -> None:
        """Wait until the client goes away; for after the body has been read."""
        await self._receive()
