"""A request's body as it comes in: bounded, and dropped where it is refused."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from healthrisk.serving import compression
from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import RequestError, too_large
from healthrisk.serving.headers import Headers

Parsed = TypeVar("Parsed")
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

    async def read(self, context: Context, parse: Callable[[bytes], Awaitable[Parsed]]) -> Parsed:
        """Return what `parse` makes of the whole body, unpacked; refuse it as soon as it is known to be too large.

        Raises:
            RequestError: it is too large, the client went away, or `parse` refuses it.
        """
        limit = self._admission.limits.max_body_bytes
        announced = self._headers.get(b"content-length")
        if announced is not None and int(announced) > limit:
            raise too_large(f"the body has {int(announced)} bytes, at most {limit} are allowed")
        # Grows in one place: thousands of small parts would leave holes in the heap.
        body = bytearray()
        with self._admission.release_slot():
            while not self.complete:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(499, "disconnected", "the client went away before its request had come in")
                body += message["body"]
                self.complete = not message["more_body"]
                context.hold(len(message["body"]))
                if context.size > limit:
                    raise too_large(f"the body has more than {limit} bytes")
        text = bytes(body)
        del body
        if (encoding := self._headers.get(b"content-encoding", b"identity").decode().lower()) != "identity":
            text = compression.unpack(text, encoding, limit)
            context.hold_instead(len(text))
        return await parse(text)

    async def discard(self) -> None:
        """Drop what still comes, for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while (await self._receive()).get("more_body"):
                    continue

    async def left(self) -> None:
        """Wait until the client goes away; for after the body has been read."""
        await self._receive()
