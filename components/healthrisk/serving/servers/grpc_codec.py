"""kserve's gRPC messages to and from the v2 protocol's requests and answers."""

import math
from typing import Any

import numpy as np
from google.protobuf.message import Message
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from numpy.typing import NDArray

from healthrisk.serving import wire
from healthrisk.serving.errors import bad_request, shown
from healthrisk.serving.tensors import (
    CONTENT_TYPE,
    DATATYPES,
    NUMPY_TYPES,
    Request,
    Response,
    Tensor,
    check_count,
    from_bytes,
    refuse_unsupported,
    select,
    to_bytes,
)

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


def from_message(message: Any, most_values: int) -> Request:
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
    check_count(name, shape, most_values)
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


def to_message(response: Response, request: Request) -> Message:
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
