"""gRPC methods that are asked in a few bytes: all but inference.

Their messages are decoded here. gRPC itself would take them up to the size of an inference request, and answer one that
it cannot decode with UNKNOWN and the name of a class.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc import RpcMethodHandler, StatusCode, aio, stream_stream_rpc_method_handler, unary_unary_rpc_method_handler

from healthrisk.serving.data_plane import DataPlane

# A name and a version; reflection is asked for names of symbols.
MOST_BYTES = 4096
UNDECODABLE = "the message is not of the method's type"
Unary = Callable[[Any, aio.ServicerContext], Awaitable[Message]]
Stream = Callable[[AsyncIterator[Any], aio.ServicerContext], AsyncIterator[Message]]


class SmallMethods:
    """Makes handlers of methods, given as their descriptors and what answers them."""

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane

    def unary(self, method: Any, behaviour: Unary) -> RpcMethodHandler:
        """Return the handler of a method with one request and one answer."""
        given, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

        async def answer(raw: bytes, context: aio.ServicerContext) -> Message:
            request = self._decode(given, raw, context)
            return answered() if request is None else await behaviour(request, context)

        return unary_unary_rpc_method_handler(answer, response_serializer=answered.SerializeToString)

    def stream(self, method: Any, behaviour: Stream) -> RpcMethodHandler:
        """Return the handler of a method with a stream of requests, which ends at the first that is refused."""
        given, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

        async def decoded(messages: AsyncIterator[bytes], context: aio.ServicerContext) -> AsyncIterator[Message]:
            async for raw in messages:
                request = self._decode(given, raw, context)
                if request is None:
                    return
                yield request

        async def answer(messages: AsyncIterator[bytes], context: aio.ServicerContext) -> AsyncIterator[Message]:
            async for response in behaviour(decoded(messages, context), context):
                yield response

        return stream_stream_rpc_method_handler(answer, response_serializer=answered.SerializeToString)

    def _decode(self, given: type[Message], raw: bytes, context: aio.ServicerContext) -> Message | None:
        if len(raw) > MOST_BYTES:
            self._refuse(context, 413, "too_large", f"the message has {len(raw)} bytes, at most {MOST_BYTES} here")
            return None
        try:
            return given.FromString(raw)
        except DecodeError:
            self._refuse(context, 400, "undecodable", UNDECODABLE)
            return None

    def _refuse(self, context: aio.ServicerContext, code: int, reason: str, message: str) -> None:
        self._data_plane.refused("grpc", code, reason)
        context.set_code(StatusCode.RESOURCE_EXHAUSTED if code == 413 else StatusCode.INVALID_ARGUMENT)
        context.set_details(message)
