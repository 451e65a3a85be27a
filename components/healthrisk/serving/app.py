"""The server's HTTP routes, as one ASGI application in front of the framework's own.

Inference goes straight from the socket's bytes to the codec; the framework's routing, middleware and data models cost
several times what the model does. Health, metadata and errors are answered here too, because the framework's are not
true of this server (no versions, a repository extension that is off, readiness while draining). What the framework
keeps is in `_FRAMEWORK`; there is no path that both answer.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

import orjson

from healthrisk import __version__
from healthrisk.serving import codec, compression, parsing
from healthrisk.serving.errors import RETRY_AFTER_SECONDS, RequestError, bad_request, too_large
from healthrisk.serving.service import Context, Service
from healthrisk.serving.statistics import configuration, model_statistics
from healthrisk.serving.tracing import valid, valid_state

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Headers = dict[bytes, bytes]
Answer = TypeVar("Answer")

_FRAMEWORK = frozenset({"/", "/v2/health/live", "/v2/models", "/v1/models", "/openapi.json"})
_JSON = (b"application/json", b"")
_BINARY = b"application/octet-stream"
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
# After a refusal the rest of a body is read and dropped for so long, or the client may never see the answer.
_DISCARD_SECONDS = 1.0
# What a connection buffers of an answer without waiting for the client.
_BUFFERED_BYTES = 2**16


class ServingApp:
    """Routes requests to a model, and the few remaining ones to the framework."""

    def __init__(self, framework: Asgi, service: Service) -> None:
        self._framework = framework
        self._service = service
        self._limits = service.admission.limits
        name, version = service.model.name, service.model.version
        model = f"/v2/models/{name}"
        in_v1, in_v2 = service.model.actions
        self._posts = {f"/v1/models/{name}:{in_v1}": ("v1", self._predict_v1)}
        self._gets: dict[str, Callable[[], tuple[int, dict[str, Any]]]] = {
            "/v2": lambda: (200, server_metadata()),
            "/v2/health/ready": lambda: self._ready({"ready": True}),
            f"/v1/models/{name}": lambda: self._ready({"name": name, "ready": True}),
        }
        tally = service.metrics.tally
        for path in (model, f"{model}/versions/{version}"):
            self._posts[f"{path}/{in_v2}"] = ("v2", self._infer)
            self._gets[path] = lambda: (200, service.model.metadata())
            self._gets[f"{path}/config"] = lambda: (200, configuration(service.model.metadata(), self._limits.max_rows))
            self._gets[f"{path}/stats"] = lambda: (200, model_statistics(name, version, tally))
            self._gets[f"{path}/ready"] = lambda: self._ready({"name": name, "ready": True})

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._framework(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        post = self._posts.get(path)
        if post is not None and method == "POST":
            await self._answer(post[0], post[1], _headers(scope["headers"]), receive, send)
        elif path in _FRAMEWORK and method in {"GET", "HEAD"}:
            # The framework knows no HEAD; of its answer to a GET the body is left out by the connection.
            await self._framework({**scope, "method": "GET"}, receive, send)
        elif (get := self._gets.get(path)) is not None and method in {"GET", "HEAD"}:
            await self._respond(send, *get())
        elif post is not None or get is not None or path in _FRAMEWORK:
            allowed = b"POST" if post is not None else b"GET, HEAD"
            error = {"error": f"{method[:20]} is not allowed here, expected {allowed.decode()}"}
            self._service.refused(_protocol(path), 405, "method")
            await self._respond(send, 405, error, [(b"allow", allowed)])
        else:
            self._service.refused(_protocol(path), 404, "not_found")
            await self._respond(send, 404, {"error": self._not_found(path)})

    def _not_found(self, path: str) -> str:
        model = self._service.model
        if path.startswith(("/v2/models/", "/v1/models/")):
            return f"no such model, version or action; this server has model {model.name!r}, version {model.version!r}"
        return "there is no such path; see /openapi.json"

    def _ready(self, answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return (503, {"error": "draining"}) if self._service.admission.draining else (200, answer)

    async def _answer(
        self, protocol: str, handle: Callable[..., Awaitable[Message]], headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Run an inference request and send its answer, or the error."""
        traceparent = valid(headers.get(b"traceparent", b"").decode("latin-1"))
        tracestate = valid_state(traceparent, headers.get(b"tracestate", b"").decode("latin-1"))
        context = Context(protocol, _request_id(headers), traceparent, tracestate)
        answer, failure = await self._service.run(context, lambda own: handle(own, headers, receive))
        if failure is not None:
            more = [(b"x-request-id", context.request_id.encode())] if context.request_id else []
            if failure.status == 413:
                await self._refuse_body(send, receive, failure, more)
            else:
                await self._respond(send, failure.status, failure.body, more)
        elif answer is not None:
            if context.request_id:
                answer["headers"].append((b"x-request-id", context.request_id.encode()))
            if encoding := compression.choose(headers.get(b"accept-encoding", b""), len(answer["body"])):
                answer["body"] = await compression.pack(answer["body"], encoding)
                answer["headers"] += [(b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
            await self._send(send, 200, answer["headers"], answer["body"])

    async def _infer(self, context: Context, headers: Headers, receive: Receive) -> Message:
        kind = _content_type(headers, (*_JSON, _BINARY))
        length = headers.get(b"inference-header-content-length")
        if length is not None and not (length.isdigit() and len(length) < 12):
            raise bad_request("protocol", "Inference-Header-Content-Length must be a whole number")
        if kind == _BINARY and length is None:
            raise bad_request("protocol", "binary data need the header Inference-Header-Content-Length")
        request = codec.parse_request(
            await self._read(context, headers, receive),
            self._limits.max_parsed_bytes,
            None if length is None else int(length),
        )
        response = await self._heard(self._service.model.infer(request, context), receive)
        await self._service.admission.turn(context.size)
        payload, json_length = codec.encode_response(response, request)
        if json_length is None:
            return {"headers": [(b"content-type", _JSON[0])], "body": payload}
        return {
            "headers": [(b"content-type", _BINARY), (b"inference-header-content-length", b"%d" % json_length)],
            "body": payload,
        }

    async def _predict_v1(self, context: Context, headers: Headers, receive: Receive) -> Message:
        _content_type(headers, _JSON)
        # Body and document get no name here, so that the model can let go of them before it waits.
        answer = await self._heard(
            self._service.model.predict_v1(
                parsing.parse(await self._read(context, headers, receive), self._limits.max_parsed_bytes), context
            ),
            receive,
        )
        await self._service.admission.turn(context.size)
        return {
            "headers": [(b"content-type", _JSON[0])],
            "body": orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY),
        }

    async def _heard(self, answering: Coroutine[Any, Any, Answer], receive: Receive) -> Answer:
        """Return an answer; one that takes long is given up when the client goes away."""
        if not self._service.model.stops_when_unheard:
            return await answering
        task, left = asyncio.create_task(answering), asyncio.ensure_future(receive())
        try:
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise RequestError(499, "disconnected", "the client went away before it had its answer")
            return await task
        finally:
            task.cancel()
            left.cancel()

    async def _read(self, context: Context, headers: Headers, receive: Receive) -> bytes:
        """Return a request's body, refusing it as soon as it is known to be too large."""
        limit = self._limits.max_body_bytes
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > limit:
            raise too_large(f"the body has {int(announced)} bytes, at most {limit} are allowed")
        parts: list[bytes] = []
        more = True
        with self._service.admission.release_slot():
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(499, "disconnected", "the client went away before its request had come in")
                parts.append(message["body"])
                more = message["more_body"]
                context.hold(len(parts[-1]))
                if context.size > limit:
                    raise too_large(f"the body has more than {limit} bytes")
        await self._service.admission.turn(context.size)
        if (encoding := headers.get(b"content-encoding", b"identity").decode().lower()) == "identity":
            return b"".join(parts)
        body = compression.unpack(b"".join(parts), encoding, limit)
        context.hold_instead(len(body))
        return body

    async def _respond(
        self, send: Send, status: int, document: dict[str, Any], headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        await self._send(
            send, status, [(b"content-type", _JSON[0]), *(headers or [])], orjson.dumps(document, default=str)
        )

    async def _send(self, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        headers.append((b"content-length", b"%d" % len(body)))
        if status == 503:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
        if self._service.admission.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if len(body) <= _BUFFERED_BYTES:
            await send({"type": "http.response.body", "body": body})
            return
        with self._service.admission.holding(len(body)):
            await send({"type": "http.response.body", "body": body, "more_body": True})
            # Returns when the client has taken most of the answer.
            await send({"type": "http.response.body", "body": b""})

    async def _refuse_body(
        self, send: Send, receive: Receive, failure: RequestError, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Send an error before the body has come in, then drop what still comes for a moment, and close."""
        body = orjson.dumps(failure.body, default=str)
        headers += [(b"content-type", _JSON[0]), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": failure.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while (await receive()).get("more_body"):
                    continue
        await send({"type": "http.response.body", "body": b""})


def server_metadata() -> dict[str, Any]:
    """Describe the server as v2 server metadata."""
    return {
        "name": "healthrisk",
        "version": __version__,
        "extensions": ["binary_tensor_data", "model_configuration", "statistics"],
    }


def _protocol(path: str) -> str:
    return next((version for version in ("v1", "v2") if path.startswith(f"/{version}/")), "http")


def _content_type(headers: Headers, accepted: tuple[bytes, ...]) -> bytes:
    kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
    if kind not in accepted:
        names = " or ".join(name.decode() for name in accepted if name)
        raise RequestError(
            415, "content_type", f"content type {kind[:80].decode('latin-1')!r} is not accepted, expected {names}"
        )
    encoding = headers.get(b"content-encoding", b"identity").lower().decode("latin-1")
    if encoding not in {"identity", *compression.ENCODINGS}:
        names = " or ".join(sorted(compression.ENCODINGS))
        raise RequestError(415, "content_type", f"content encoding {encoding[:80]!r} is not accepted, expected {names}")
    return kind


def _headers(pairs: list[tuple[bytes, bytes]]) -> Headers:
    """Return headers by name: of those that come more than once the last, but of `tracestate` all."""
    headers = dict(pairs)
    if b"tracestate" in headers:
        headers[b"tracestate"] = b",".join(value for name, value in pairs if name == b"tracestate")
    return headers


def _request_id(headers: Headers) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else ""
