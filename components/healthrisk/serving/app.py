"""The server's HTTP routes, as one ASGI application in front of the framework's own.

Inference goes straight from the socket's bytes to the codec; the framework's routing, middleware and data models cost
several times what the model does. Health, metadata and errors are answered here too, because the framework's are not
true of this server (no versions, a repository extension that is off, readiness while draining). What the framework
keeps is in `_FRAMEWORK`; there is no path that both answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

import orjson

from healthrisk import __version__
from healthrisk.serving import answers, codec, compression
from healthrisk.serving.body import Asgi, Body, Message, Receive, Send
from healthrisk.serving.data_plane import Context, DataPlane
from healthrisk.serving.errors import RequestError
from healthrisk.serving.headers import BINARY, JSON, Headers, by_name, caller, content_type, json_length, request_id
from healthrisk.serving.replies import Replies
from healthrisk.serving.statistics import configuration, model_statistics
from healthrisk.serving.tracing import valid, valid_state

Answer = TypeVar("Answer")

_FRAMEWORK = frozenset({"/", "/v2/health/live", "/v2/models", "/v1/models", "/openapi.json"})


class ServingApp:
    """Routes requests to a model, and the few remaining ones to the framework."""

    def __init__(self, framework: Asgi, data_plane: DataPlane) -> None:
        self._framework = framework
        self._data_plane = data_plane
        served = data_plane.model
        self._limits = data_plane.admission.limits
        self._replies = Replies(data_plane.admission)
        name, version = served.name, served.version
        model = f"/v2/models/{name}"
        in_v1, in_v2 = served.actions
        self._posts = {f"/v1/models/{name}:{in_v1}": ("v1", self._predict_v1)}
        self._gets: dict[str, Callable[[], tuple[int, answers.Answer]]] = {
            "/v2": lambda: (200, server_metadata()),
            "/v2/health/ready": lambda: self._ready({"ready": True}),
            f"/v1/models/{name}": lambda: self._ready({"name": name, "ready": True}),
        }
        tally = data_plane.metrics.tally
        for path in (model, f"{model}/versions/{version}"):
            self._posts[f"{path}/{in_v2}"] = ("v2", self._infer)
            self._gets[path] = lambda: (200, served.metadata())
            self._gets[f"{path}/config"] = lambda: (
                200,
                configuration(served.metadata(), self._limits.max_rows),
            )
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
            await self._answer(post[0], post[1], by_name(scope["headers"]), receive, send)
        elif path in _FRAMEWORK and method in {"GET", "HEAD"}:
            # The framework knows no HEAD; of its answer to a GET the body is left out by the connection.
            await self._framework({**scope, "method": "GET"}, receive, send)
        elif (get := self._gets.get(path)) is not None and method in {"GET", "HEAD"}:
            await self._replies.respond(send, *get())
        elif post is not None or get is not None or path in _FRAMEWORK:
            allowed = b"POST" if post is not None else b"GET, HEAD"
            error: answers.ErrorBody = {"error": f"{method[:20]} is not allowed here, expected {allowed.decode()}"}
            self._data_plane.refused(_protocol(path), 405, "method")
            await self._replies.respond(send, 405, error, [(b"allow", allowed)])
        else:
            self._data_plane.refused(_protocol(path), 404, "not_found")
            await self._replies.respond(send, 404, {"error": self._not_found(path)})

    def _not_found(self, path: str) -> str:
        model = self._data_plane.model
        if path.startswith(("/v2/models/", "/v1/models/")):
            return f"no such model, version or action; this server has model {model.name!r}, version {model.version!r}"
        return "there is no such path; see /openapi.json"

    def _ready(self, answer: answers.Readiness) -> tuple[int, answers.Answer]:
        return (503, {"error": "draining"}) if self._data_plane.admission.draining else (200, answer)

    async def _answer(
        self, protocol: str, handle: Callable[..., Awaitable[Message]], headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Run an inference request and send its answer, or the error."""
        traceparent = valid(headers.get(b"traceparent", b"").decode("latin-1"))
        tracestate = valid_state(traceparent, headers.get(b"tracestate", b"").decode("latin-1"))
        context = Context(protocol, request_id(headers), traceparent, tracestate, caller=caller(headers))
        body = Body(headers, receive, self._data_plane.admission)
        answer, failure = await self._data_plane.run(context, lambda own: handle(own, headers, body))
        more = [(b"x-request-id", context.request_id.encode())] if context.request_id else []
        if failure is not None and failure.status == 413 and not body.complete:
            await self._replies.refuse_body(send, body, failure, more)
        elif failure is not None:
            await self._replies.respond(send, failure.status, failure.body, more)
        elif answer is not None:
            answer["headers"] += more
            if encoding := compression.choose(headers.get(b"accept-encoding", b""), len(answer["body"])):
                answer["body"] = await compression.pack(answer["body"], encoding)
                answer["headers"] += [(b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
            await self._replies.send(send, 200, answer["headers"], answer["body"])

    async def _infer(self, context: Context, headers: Headers, body: Body) -> Message:
        announced = json_length(headers)
        request, matrix = await body.read(context, lambda raw: self._data_plane.read("v2", raw, announced))
        response = await self._heard(self._data_plane.model.infer(matrix, request.id, context), body)
        payload, head = await self._data_plane.admission.work(
            context.size, lambda: codec.encode_response(response, request)
        )
        if head is None:
            return {"headers": [(b"content-type", JSON)], "body": payload}
        return {
            "headers": [(b"content-type", BINARY), (b"inference-header-content-length", b"%d" % head)],
            "body": payload,
        }

    async def _predict_v1(self, context: Context, headers: Headers, body: Body) -> Message:
        content_type(headers, JSON)
        _, matrix = await body.read(context, lambda raw: self._data_plane.read("v1", raw))
        answer = await self._heard(self._data_plane.model.predict_v1(matrix, context), body)
        payload = await self._data_plane.admission.work(
            context.size, lambda: orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        )
        return {"headers": [(b"content-type", JSON)], "body": payload}

    async def _heard(self, answering: Coroutine[Any, Any, Answer], body: Body) -> Answer:
        """Return an answer; one that takes long is given up when the client goes away."""
        if not self._data_plane.model.stops_when_unheard:
            return await answering
        task, left = asyncio.create_task(answering), asyncio.create_task(body.left())
        try:
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise RequestError(499, "disconnected", "the client went away before it had its answer")
            return await task
        finally:
            task.cancel()
            left.cancel()


def server_metadata() -> answers.ServerMetadata:
    """Describe the server as v2 server metadata."""
    return {
        "name": "healthrisk",
        "version": __version__,
        "extensions": ["binary_tensor_data", "model_configuration", "statistics"],
    }


def _protocol(path: str) -> str:
    return next((version for version in ("v1", "v2") if path.startswith(f"/{version}/")), "http")
