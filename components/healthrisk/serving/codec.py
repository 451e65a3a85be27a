"""The KServe v2 protocol's messages over REST: JSON, with tensors as JSON lists or as binary data behind the JSON.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and its binary tensor extension.
"""

from typing import Any, NotRequired, TypedDict

import orjson
from numpy.typing import NDArray

from healthrisk.serving import parsing
from healthrisk.serving.errors import bad_request, shown
from healthrisk.serving.tensors import (
    CONTENT_TYPE,
    DATATYPES,
    JSON_ROWS,
    Request,
    Response,
    Tensor,
    check_count,
    from_bytes,
    refuse_unsupported,
    select,
    to_bytes,
)

_LITTLE_JSON_BYTES = 2**14


class _OutputParameters(TypedDict):
    content_type: str
    binary_data_size: NotRequired[int]


class _Output(TypedDict):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: _OutputParameters
    data: NotRequired[NDArray[Any] | list[Any]]


class _Answer(TypedDict):
    """A response, in the order in which it is written."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    parameters: NotRequired[dict[str, str]]
    outputs: NotRequired[list[_Output]]


def is_plain(body: bytes, json_length: int | None) -> bool:
    """Say whether a body of any size is read at once: little JSON, and numbers behind it that stay as they are."""
    if json_length is None or not 0 <= json_length <= _LITTLE_JSON_BYTES:
        return False
    # A text is a part of its own for each of its values. Whoever escapes a word of the protocol may mean it.
    head = body[:json_length]
    return b"BYTES" not in head and b"\\" not in head


def parse_request(body: bytes, max_weight: int, most_values: int, json_length: int | None = None) -> Request:
    """Read a request. `json_length` is the header Inference-Header-Content-Length, where tensors follow the JSON.

    Raises:
        RequestError: the body is not a v2 request, takes more than `max_weight` bytes of memory, or has a tensor of
            more than `most_values`.
    """
    if json_length is not None and not 0 <= json_length <= len(body):
        raise bad_request(
            "protocol", f"Inference-Header-Content-Length is {json_length}, the body has {len(body)} bytes"
        )
    split = len(body) if json_length is None else json_length
    document = parsing.parse(body if json_length is None else body[:split], max_weight)
    if not isinstance(document, dict):
        raise bad_request("protocol", "the body must be a JSON object with 'inputs'")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise bad_request("protocol", "'inputs' must be a list of at least one tensor")
    tail = memoryview(body)[split:]
    tensors = []
    for item in inputs:
        tensor, used = _parse_tensor(item, tail, most_values)
        tail = tail[used:]
        tensors.append(tensor)
    if tail:
        raise bad_request("protocol", f"{len(tail)} bytes of binary data belong to no input")
    request = Request(tensors, id=document.get("id"))
    if request.id is not None and not isinstance(request.id, str):
        raise bad_request("protocol", "'id' must be a string")
    request.binary_output = _flag(_parameters(document), "binary_data_output", default=False)
    if document.get("outputs"):
        request.outputs = _parse_outputs(document["outputs"], request.binary_output)
        request.json_rows = frozenset(
            output["name"] for output in document["outputs"] if _parameters(output).get(CONTENT_TYPE) == JSON_ROWS
        )
    return request


def _parse_tensor(item: Any, tail: memoryview, most_values: int) -> tuple[Tensor, int]:
    """Return an input tensor and how many bytes of the binary data it takes."""
    if not isinstance(item, dict):
        raise bad_request("protocol", "every input must be a JSON object with name, datatype, shape and data")
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    if not isinstance(name, str):
        raise bad_request("protocol", "every input needs a 'name'")
    name = name[:200]
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        given = shown(datatype)
        raise bad_request("datatype", f"input {name!r} has datatype {given}, expected one of {', '.join(DATATYPES)}")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 2 or not all(map(_is_size, shape)):
        raise bad_request("shape", f"input {name!r} needs a 'shape': one or two whole numbers from 0 up")
    check_count(name, shape, most_values)
    data = item.get("data")
    parameters = item.get("parameters")
    size = None if parameters is None else _parameters(item).get("binary_data_size")
    if size is None:
        if not isinstance(data, list):
            raise bad_request("protocol", f"input {name!r} needs 'data', a list, or the parameter binary_data_size")
        return Tensor(name, datatype, tuple(shape), data), 0
    if data is not None:
        raise bad_request("protocol", f"input {name!r} has both 'data' and binary_data_size")
    if type(size) is not int or not 0 <= size <= len(tail):
        raise bad_request(
            "protocol", f"input {name!r} announces {shown(size)} bytes of binary data, {len(tail)} are left"
        )
    return Tensor(name, datatype, tuple(shape), from_bytes(name, datatype, shape, tail[:size])), size


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _parse_outputs(outputs: Any, binary: bool) -> dict[str, bool]:
    if not isinstance(outputs, list):
        raise bad_request("protocol", "'outputs' must be a list")
    wanted = {}
    for output in outputs:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise bad_request("protocol", "every requested output needs a 'name'")
        wanted[output["name"]] = _flag(_parameters(output), "binary_data", binary)
    return wanted


def _parameters(item: dict[str, Any]) -> dict[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise bad_request("protocol", "'parameters' must be a JSON object")
    refuse_unsupported(parameters)
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise bad_request("protocol", f"the parameter {name!r} is {shown(value)}, expected true or false")
    return value


def encode_response(response: Response, request: Request) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part where binary data follows it.

    Raises:
        RequestError: the request asks for an output that there is not.
    """
    outputs: list[_Output] = []
    tail = []
    for tensor in select(response.outputs, request):
        parameters: _OutputParameters = {CONTENT_TYPE: tensor.content_type}
        output: _Output = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
            "parameters": parameters,
        }
        if request.outputs[tensor.name] if request.outputs else request.binary_output:
            raw = to_bytes(tensor)
            parameters["binary_data_size"] = len(raw)
            tail.append(raw)
        else:
            output["data"] = tensor.data
        outputs.append(output)
    document: _Answer = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id is not None:
        document["id"] = response.id
    document["parameters"] = response.parameters
    document["outputs"] = outputs
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (head + b"".join(tail), len(head)) if tail else (head, None)
