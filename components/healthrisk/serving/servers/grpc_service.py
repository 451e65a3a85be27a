"""The v2 protocol over gRPC: kserve's messages to and from the codec's, and errors to gRPC's statuses."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc import (
    RpcMethodHandler,
    StatusCode,
    aio,
    method_handlers_generic_handler,
    unary_unary_rpc_method_handler,
)
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from numpy.typing import NDArray

from healthrisk.serving import wire
from healthrisk.serving.app import server_metadata
from healthrisk.serving.codec import (
    CONTENT_TYPE,
    DATATYPES,
    NUMPY_TYPES,
    Request,
    Response,
    Tensor,
    from_bytes,
    refuse_unsupported,
    select,
    to_bytes,
)
from healthrisk.serving.errors import RequestError, bad_request, shown, too_large
from healthrisk.serving.servers.grpc_health import add_health_and_reflection
from healthrisk.serving.service import Context, Service
from healthrisk.serving.tracing import valid, valid_state

_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
# Where a datatype's values are, and of which type: one field holds several datatypes.
_CONTENTS = {
    "BOOL": ("bool_contents", np.bool_),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", np.int32)),
    "INT64": ("int64_contents", np.int64),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", np.uint32)),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
    "BYTES": ("bytes_contents", None),
}


_UNDECODABLE = "the message is not of the method's type"
# What gRPC buffers of an answer without waiting for the client.
_BUFFERED_BYTES = 2**16


class InferenceService:
    """kserve's gRPC service on a model. The repository extension is left unimplemented: it is off."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._model = service.model
        widths = [math.prod(abs(size) for size in tensor["shape"]) for tensor in self._model.metadata()["inputs"]]
        self._most_values = service.admission.limits.max_rows * sum(widths)

    async def ServerLive(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerReadyResponse(ready=not self._service.admission.draining)

    async def ServerMetadata(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerMetadataResponse(**server_metadata())

    async def ModelReady(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        if not self._serves(request.name, request.version):
            return self._not_found(context, pb.ModelReadyResponse())
        return pb.ModelReadyResponse(ready=not self._service.admission.draining)

    async def ModelMetadata(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        if not self._serves(request.name, request.version):
            return self._not_found(context, pb.ModelMetadataResponse())
        described = {key: value for key, value in self._model.metadata().items() if key != "parameters"}
        return pb.ModelMetadataResponse(**described)

    async def ModelInfer(self, raw: bytes, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        traceparent = valid(metadata.get("traceparent", ""))
        tracestate = valid_state(traceparent, metadata.get("tracestate", ""))
        own = Context("grpc", metadata.get("x-request-id", "")[:128], traceparent, tracestate)

        async def answer(inner: Context) -> Message:
            # gRPC keeps the message until the call is answered.
            inner.hold(len(raw))
            inner.kept = len(raw)
            await self._service.admission.turn(len(raw))
            request = self._decode(raw)
            return _to_message(await self._model.infer(request, inner), request)

        message, failure = await self._service.run(own, answer)
        if failure is not None:
            # Not abort(): its exception, which the call keeps, holds the request until the garbage collector comes by.
            context.set_code(_STATUS.get(failure.status, StatusCode.INVALID_ARGUMENT))
            context.set_details(str(failure))
            return pb.ModelInferResponse()
        self._hold_until_sent(context, message)
        return message

    def _decode(self, raw: bytes) -> Request:
        """Return the request that a message holds; the message itself is free again.

        Raises:
            RequestError: the message is not a v2 request for this model, or takes too much memory.
        """
        wire.check(raw, self._service.admission.limits.max_parsed_bytes)
        try:
            message = pb.ModelInferRequest.FromString(raw)
        except DecodeError:
            raise bad_request("undecodable", _UNDECODABLE) from None
        if not self._serves(message.model_name, message.model_version):
            raise RequestError(404, "not_found", self._no_such_model())
        return _from_message(message, self._most_values)

    def _hold_until_sent(self, context: aio.ServicerContext, answer: Any) -> None:
        if (size := answer.ByteSize()) > _BUFFERED_BYTES:
            holding = self._service.admission.holding(size)
            holding.__enter__()
            context.add_done_callback(lambda _: holding.__exit__(None, None, None))

    def _serves(self, name: str, version: str) -> bool:
        return name == self._model.name and version in {"", self._model.version}

    def _not_found(self, context: aio.ServicerContext, empty: Message) -> Message:
        self._service.refused("grpc", 404, "not_found")
        context.set_code(StatusCode.NOT_FOUND)
        context.set_details(self._no_such_model())
        return empty

    def _no_such_model(self) -> str:
        return f"no such model or version; here is model {self._model.name!r}, version {self._model.version!r}"

    def handlers(self) -> dict[str, RpcMethodHandler]:
        """Return the methods by name. gRPC itself would answer a message that cannot be decoded with UNKNOWN."""
        methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        return {
            method.name: unary_unary_rpc_method_handler(
                self.ModelInfer if method.name == "ModelInfer" else self._decoding(method),
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in methods
            if method.name in type(self).__dict__
        }

    def _decoding(self, method: Any) -> Callable[[bytes, aio.ServicerContext], Awaitable[Message]]:
        given, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        behaviour = getattr(self, method.name)

        async def decode(raw: bytes, context: aio.ServicerContext) -> Message:
            try:
                wire.check(raw, self._service.admission.limits.max_parsed_bytes)
                request = given.FromString(raw)
            except (DecodeError, RequestError):
                self._service.refused("grpc", 400, "undecodable")
                context.set_code(StatusCode.INVALID_ARGUMENT)
                context.set_details(_UNDECODABLE)
                return answered()
            return await behaviour(request, context)

        return decode


def _from_message(message: Any, most_values: int) -> Request:
    """Return a request's tensors, from typed or raw contents; no tensor may have more than `most_values`.

    Raises:
        RequestError: the message is not a v2 request.
    """
    inputs, raw = message.inputs, message.raw_input_contents
    if not 1 <= len(inputs) <= wire.MOST_PARTS:
        raise bad_request("protocol", f"'inputs' holds {len(inputs)} tensors, expected 1 to {wire.MOST_PARTS}")
    if raw and len(raw) != len(inputs):
        raise bad_request("protocol", f"{len(raw)} raw input contents do not match {len(inputs)} inputs")
    for part in (message, *inputs, *message.outputs):
        refuse_unsupported(part.parameters)
    tensors = []
    for position, given in enumerate(inputs):
        name, datatype = given.name[:200], given.datatype
        shape = _shape(given, name, most_values)
        if not raw:
            data = _contents(name, datatype, math.prod(shape), given.contents)
        elif given.HasField("contents"):
            raise bad_request("protocol", f"input {name!r} has contents, and the request raw_input_contents too")
        else:
            data = from_bytes(name, datatype, shape, raw[position])
        tensors.append(Tensor(name, datatype, shape, data))
    request = Request(tensors, message.id or None, {output.name: True for output in message.outputs} or None)
    request.binary_output = _binary_output(message)
    return request


def _binary_output(message: Any) -> bool:
    """Return whether outputs are wanted raw, which clients read fastest. People with grpcurl want them typed."""
    name = "binary_data_output"
    if name not in message.parameters:
        return True
    given = message.parameters[name]
    if not given.HasField("bool_param"):
        raise bad_request("protocol", f"the parameter {name!r} must be a boolean")
    return bool(given.bool_param)


def _shape(given: Any, name: str, most_values: int) -> tuple[int, ...]:
    """Return an input's shape, once its datatype is known to be one."""
    if given.datatype not in DATATYPES:
        datatype = shown(given.datatype)
        raise bad_request("datatype", f"input {name!r} has datatype {datatype}, expected one of {', '.join(DATATYPES)}")
    shape = tuple(given.shape[:3])
    if not 1 <= len(shape) <= 2 or min(shape) < 0 or max(shape) >= 2**31:
        raise bad_request("shape", f"input {name!r} needs a shape: one or two whole numbers from 0 up")
    if (count := math.prod(shape)) > most_values:
        raise too_large(f"input {name!r} has {count} values, at most {most_values} are allowed")
    return shape


def _contents(name: str, datatype: str, count: int, contents: Any) -> Any:
    field, dtype = _CONTENTS.get(datatype, ("", None))
    if not field:
        raise bad_request("datatype", f"input {name!r}: {datatype} can only be sent as raw contents")
    values = getattr(contents, field)
    if len(values) != count:
        raise bad_request("shape", f"input {name!r}: {len(values)} values do not fill {count} places")
    if dtype is not None:
        return _narrowed(name, datatype, np.fromiter(values, dtype, count))
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise bad_request("protocol", f"input {name!r} holds a text that is not UTF-8") from error


def _narrowed(name: str, datatype: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return values of a field that holds several datatypes as the one they are said to be.

    Raises:
        RequestError: one does not fit.
    """
    if datatype == "BOOL" or (dtype := np.dtype(NUMPY_TYPES[datatype])).itemsize == values.dtype.itemsize:
        return values
    info = np.iinfo(dtype)
    if ((values < info.min) | (values > info.max)).any():
        raise bad_request("range", f"input {name!r} has a value that {datatype} cannot hold")
    return values


def _to_message(response: Response, request: Request) -> Message:
    """Return the response with raw output contents, or typed ones where these are asked for."""
    message = pb.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id or ""
    )
    for name, value in response.parameters.items():
        message.parameters[name].string_param = value
    for tensor in select(response.outputs, request):
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        output.parameters[CONTENT_TYPE].string_param = tensor.content_type
        if request.binary_output:
            message.raw_output_contents.append(to_bytes(tensor))
            continue
        field, _ = _CONTENTS[tensor.datatype]
        values = (value.encode() for value in tensor.data) if tensor.datatype == "BYTES" else tensor.data
        getattr(output.contents, field).extend(values)
    return message


def make_server(service: Service, path: str) -> aio.Server:
    """Return a gRPC server that will listen on a socket of this process, not started yet."""
    logging.getLogger("grpc").setLevel(logging.ERROR)
    limits = service.admission.limits
    options = [
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", limits.max_body_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.request_seconds * 1000)),
        ("grpc.max_concurrent_streams", limits.max_grpc_calls),
        ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
    ]
    server = aio.server(options=options)
    handlers = InferenceService(service).handlers()
    server.add_generic_rpc_handlers((method_handlers_generic_handler(_SERVICE, handlers),))
    add_health_and_reflection(server, service.admission, (_SERVICE,))
    server.add_insecure_port(f"unix:{path}")
    return server
