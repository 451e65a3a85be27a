"""The v2 protocol over gRPC: kserve's messages to and from the codec's, and errors to gRPC's statuses."""

import logging
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
from healthrisk.serving.errors import bad_request
from healthrisk.serving.service import Context, Service
from healthrisk.serving.tracing import valid
from healthrisk.serving.v2 import DATATYPES, Request, Response, Tensor, from_bytes, select, to_bytes

_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class InferenceService(GRPCInferenceServiceServicer):
    """kserve's gRPC service on a model. The repository extension is left unimplemented: it is off."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._model = service.model

    async def ServerLive(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerReadyResponse(ready=not self._service.gate.draining)

    async def ServerMetadata(self, request: Message, context: aio.ServicerContext) -> Message:  # noqa: ARG002, N802, D102
        return pb.ServerMetadataResponse(**server_metadata())

    async def ModelReady(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        await self._find(request.name, request.version, context)
        return pb.ModelReadyResponse(ready=not self._service.gate.draining)

    async def ModelMetadata(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        await self._find(request.name, request.version, context)
        described = {key: value for key, value in self._model.metadata().items() if key != "parameters"}
        return pb.ModelMetadataResponse(**described)

    async def ModelInfer(self, request: Any, context: aio.ServicerContext) -> Message:  # noqa: N802, D102
        await self._find(request.model_name, request.model_version, context)
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        own = Context("grpc", metadata.get("x-request-id", "")[:128], valid(metadata.get("traceparent", "")))

        async def answer(inner: Context) -> Message:
            decoded = _from_message(request)
            return _to_message(await self._model.infer(decoded, inner), decoded)

        message, failure = await self._service.run(own, answer)
        if failure is not None:
            await context.abort(_STATUS.get(failure.status, StatusCode.INVALID_ARGUMENT), str(failure))
        return message

    async def _find(self, name: str, version: str, context: aio.ServicerContext) -> None:
        if name != self._model.name or version not in {"", self._model.version}:
            await context.abort(
                StatusCode.NOT_FOUND,
                f"no such model or version; here is model {self._model.name!r}, version {self._model.version!r}",
            )


def _from_message(message: Any) -> Request:
    """Return a request's tensors, from typed or raw contents.

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
        if raw:
            tensors.append(Tensor(name, datatype, shape, from_bytes(name, datatype, shape, raw[position])))
        else:
            tensors.append(Tensor(name, datatype, shape, _contents(name, datatype, given.contents)))
    return Request(tensors, message.id or None, {output.name: True for output in message.outputs} or None)


def _contents(name: str, datatype: str, contents: Any) -> Any:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise bad_request("datatype", f"input {name!r}: {datatype} can only be sent as raw contents")
    if datatype != "BYTES":
        return np.array(getattr(contents, field))
    try:
        return [value.decode() for value in contents.bytes_contents]
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
    limits = service.gate.limits
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
