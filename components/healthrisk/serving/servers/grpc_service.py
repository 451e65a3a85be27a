"""The v2 protocol over gRPC: kserve's methods on a model, and errors as gRPC's statuses."""

import logging
from typing import Any

from google.protobuf.message import Message
from grpc import (
    RpcMethodHandler,
    StatusCode,
    aio,
    method_handlers_generic_handler,
    unary_unary_rpc_method_handler,
)
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from healthrisk.serving.app import server_metadata
from healthrisk.serving.data_plane import Context, DataPlane
from healthrisk.serving.headers import CALLER, caller
from healthrisk.serving.servers.grpc_codec import to_message
from healthrisk.serving.servers.grpc_health import add_health_and_reflection
from healthrisk.serving.servers.grpc_methods import SmallMethods
from healthrisk.serving.servers.grpc_reading import is_of, no_such_model
from healthrisk.serving.tracing import valid, valid_state

_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# What gRPC buffers of an answer without waiting for the client.
_BUFFERED_BYTES = 2**16


class InferenceService:
    """kserve's gRPC service on a model. The repository extension is left unimplemented: it is off."""

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane
        self._model = data_plane.model

    async def ServerLive(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerReadyResponse(ready=not self._data_plane.admission.draining)

    async def ServerMetadata(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerMetadataResponse(**server_metadata())

    async def ModelReady(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        if not is_of(self._model, request.name, request.version):
            return self._not_found(context, pb.ModelReadyResponse())
        return pb.ModelReadyResponse(ready=not self._data_plane.admission.draining)

    async def ModelMetadata(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        if not is_of(self._model, request.name, request.version):
            return self._not_found(context, pb.ModelMetadataResponse())
        described = {key: value for key, value in self._model.metadata().items() if key != "parameters"}
        return pb.ModelMetadataResponse(**described)

    async def ModelInfer(self, raw: bytes, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        traceparent = valid(metadata.get("traceparent", ""))
        tracestate = valid_state(traceparent, metadata.get("tracestate", ""))
        asks = caller({CALLER: metadata.get(CALLER.decode(), "").encode()})
        own = Context("grpc", metadata.get("x-request-id", "")[:128], traceparent, tracestate, caller=asks)

        async def answer(inner: Context) -> Message:
            # gRPC keeps the message until the call is answered.
            inner.hold(len(raw))
            inner.kept = len(raw)
            request, matrix = await self._data_plane.read("grpc", raw)
            response = await self._model.infer(matrix, request.id, inner)
            return await self._data_plane.admission.work(inner.size, lambda: to_message(response, request))

        message, failure = await self._data_plane.run(own, answer)
        if failure is not None:
            # Not abort(): its exception, which the call keeps, holds the request until the garbage collector comes by.
            context.set_code(_STATUS.get(failure.status, StatusCode.INVALID_ARGUMENT))
            context.set_details(str(failure))
            return pb.ModelInferResponse()
        self._hold_until_sent(context, message)
        return message

    def _hold_until_sent(self, context: aio.ServicerContext, answer: Any) -> None:
        if (size := answer.ByteSize()) > _BUFFERED_BYTES:
            holding = self._data_plane.admission.holding(size)
            holding.__enter__()
            context.add_done_callback(lambda _: holding.__exit__(None, None, None))

    def _not_found(self, context: aio.ServicerContext, empty: Message) -> Message:
        self._data_plane.refused("grpc", 404, "not_found")
        context.set_code(StatusCode.NOT_FOUND)
        context.set_details(no_such_model(self._model))
        return empty

    def handlers(self) -> dict[str, RpcMethodHandler]:
        """Return the methods by name."""
        small = SmallMethods(self._data_plane)
        handlers = {
            method.name: small.unary(method, getattr(self, method.name))
            for method in _SERVICE.methods
            if method.name in type(self).__dict__
        }
        return handlers | {
            "ModelInfer": unary_unary_rpc_method_handler(
                self.ModelInfer, response_serializer=pb.ModelInferResponse.SerializeToString
            )
        }


def make_server(data_plane: DataPlane, path: str) -> aio.Server:
    """Return a gRPC server that will listen on a socket of this process, not started yet."""
    logging.getLogger("grpc").setLevel(logging.ERROR)
    limits = data_plane.admission.limits
    options = [
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", limits.max_body_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.request_seconds * 1000)),
        ("grpc.max_concurrent_streams", limits.max_grpc_calls),
        ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
    ]
    server = aio.server(options=options)
    handlers = InferenceService(data_plane).handlers()
    server.add_generic_rpc_handlers((method_handlers_generic_handler(_SERVICE.full_name, handlers),))
    add_health_and_reflection(server, data_plane, (_SERVICE.full_name,))
    server.add_insecure_port(f"unix:{path}")
    return server
