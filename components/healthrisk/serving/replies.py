"""How an answer goes out over ASGI: with its length, a time to come again where there is one, and bounded memory."""

from collections.abc import Mapping
from typing import Any

import orjson

from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.body import Body, Send
from healthrisk.serving.errors import RETRY_AFTER_SECONDS, RequestError
from healthrisk.serving.headers import JSON

HeaderPairs = list[tuple[bytes, bytes]]
# What a connection buffers of an answer without waiting for the client.
_BUFFERED_BYTES = 2**16


class Replies:
    """Sends the answers of one server."""

    def __init__(self, admission: AdmissionController) -> None:
        self._admission = admission

    async def respond(
        self, send: Send, status: int, document: Mapping[str, Any], headers: HeaderPairs | None = None
    ) -> None:
        """Answer with a JSON object."""
        await self.send(send, status, [(b"content-type", JSON), *(headers or [])], orjson.dumps(document, default=str))

    async def send(self, send: Send, status: int, headers: HeaderPairs, body: bytes) -> None:
        """Answer with a body, of which a large one counts as held until the client has taken most of it."""
        headers.append((b"content-length", b"%d" % len(body)))
        if status == 503:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
        if self._admission.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if len(body) <= _BUFFERED_BYTES:
            await send({"type": "http.response.body", "body": body})
            return
        with self._admission.holding(len(body)):
            await send({"type": "http.response.body", "body": body, "more_body": True})
            # Returns when the client has taken most of the answer.
            await send({"type": "http.response.body", "body": b""})

    async def refuse_body(self, send: Send, body: Body, failure: RequestError, headers: HeaderPairs) -> None:
        """Send an error before the body has come in, and close once what still comes has been dropped."""
        answer = orjson.dumps(failure.body, default=str)
        headers += [(b"content-type", JSON), (b"content-length", b"%d" % len(answer)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": failure.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer, "more_body": True})
        await body.discard()
        await send({"type": "http.response.body", "body": b""})
