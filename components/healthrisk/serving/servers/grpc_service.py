"""The v2 protocol over gRPC: kserve's messages to and from the codec's, and errors to gRPC's statuses."""

import logging
import math
from typing import Any

import numpy as np
from google.protobuf.message import Message
from grpc import StatusCode, aio
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from healthrisk.serving.app import server_metadata
from healthrisk.serving.codec import DATATYPES, Request, Response, Tensor, from_bytes, select, to_bytes
from healthrisk.serving.errors import bad_request, too_large
from healthrisk.serving.service import Context, Service
from healthrisk.serving.tracing import valid

_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
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


class InferenceService(GRPCInferenceServiceServicer):
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

    async def ModelInfer(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        if not self._serves(request.model_name, request.model_version):
            return self._not_found(context, pb.ModelInferResponse())
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        own = Context("grpc", metadata.get("x-request-id", "")[:128], valid(metadata.get("traceparent", "")))

        async def answer(inner: Context) -> Message:
            self._service.hold(inner, request.ByteSize())
            decoded = _from_message(request, self._most_values)
            return _to_message(await self._model.infer(decoded, inner), decoded)

        message, failure = await self._service.run(own, answer)
        if failure is not None:
            # Not abort(): its exception, which the call keeps, holds the request until the garbage collector comes by.
            context.set_code(_STATUS.get(failure.status, StatusCode.INVALID_ARGUMENT))
            context.set_details(str(failure))
            return pb.ModelInferResponse()
        return message

    def _serves(self, name: str, version: str) -> bool:
        return name == self._model.name and version in {"", self._model.version}

    def _not_found(self, context: aio.ServicerContext, empty: Message) -> Message:
        context.set_code(StatusCode.NOT_FOUND)
        context.set_details(
            f"no such model or version; here is model {self._model.name!r}, version {self._model.version!r}"
        )
        return empty


def _from_message(message: Any, most_values: int) -> Request:
    """Return a request's tensors, from typed or raw contents; no tensor may have more than `most_values`.

    Raises:
        RequestError: the message is not a v2 request.
    """
    inputs, raw = message.inputs, message.raw_input_contents
    if not inputs:
        raise bad_request("protocol", "'inputs' must hold at least one tensor")
    if raw and len(raw) != len(inputs):
        raise bad_request("protocol", f"{len(raw)} raw input contents do not match {len(inputs)} inputs")
    tensors = []
    for position, given in enumerate(inputs):
        name, datatype, shape = given.name[:200], given.datatype, tuple(given.shape)
        if datatype not in DATATYPES:
            raise bad_request(
                "datatype",
                f"input {name!r} has datatype {datatype[:40]!r}, expected one of {', '.join(sorted(DATATYPES))}",
            )
        if not 1 <= len(shape) <= 2 or min(shape) < 0 or max(shape) >= 2**31:
            raise bad_request("shape", f"input {name!r} needs a shape: one or two whole numbers from 0 up")
        if (count := math.prod(shape)) > most_values:
            raise too_large(f"input {name!r} has {count} values, at most {most_values} are allowed")
        if raw:
            tensors.append(Tensor(name, datatype, shape, from_bytes(name, datatype, shape, raw[position])))
        else:
            tensors.append(Tensor(name, datatype, shape, _contents(name, datatype, count, given.contents)))
    return Request(tensors, message.id or None, {output.name: True for output in message.outputs} or None)


def _contents(name: str, datatype: str, count: int, contents: Any) -> Any:
    field, dtype = _CONTENTS.get(datatype, ("", None))
    if not field:
        raise bad_request("datatype", f"input {name!r}: {datatype} can only be sent as raw contents")
    values = getattr(contents, field)
    if len(values) != count:
        raise bad_request("shape", f"input {name!r}: {len(values)} values do not fill {count} places")
    if dtype is not None:
        return np.fromiter(values, dtype, count)
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise bad_request("protocol", f"input {name!r} holds a text that is not UTF-8") from error


def _to_message(response: Response, request: Request) -> Message:
    """Return the response with raw output contents, the form that clients read fastest."""
    message = pb.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id or ""
    )
    for name, value in response.parameters.items():
        message.parameters[name].string_param = value
    for tensor in select(response.outputs, request.outputs):
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(to_bytes(tensor))
    return message


def make_server(service: Service, address: str) -> aio.Server:
    """Return a gRPC server bound to an address, not started yet.

    Raises:
        RuntimeError: the address is taken.
    """
    logging.getLogger("grpc").setLevel(logging.ERROR)
    limits = service.admission.limits
    options = [
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", limits.max_body_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.request_seconds * 1000)),
        ("grpc.so_reuseport", 0),
    ]
    server = aio.server(options=options)
    add_GRPCInferenceServiceServicer_to_server(InferenceService(service), server)
    server.add_insecure_port(address)
    return server
