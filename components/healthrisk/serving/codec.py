"""The KServe v2 protocol's messages over REST: JSON, with tensors as JSON lists or as binary data behind the JSON.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and its binary tensor extension.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from healthrisk.serving import parsing
from healthrisk.serving.errors import bad_request, shown

# Shapes and datatypes are quoted in errors; values of patients are not, outside the fault that names one.
NUMPY_TYPES: dict[str, str] = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    # Numpy has none: the upper half of an FP32.
    "BF16": "<u2",
}
DATATYPES = ("BOOL", "BYTES", *sorted(NUMPY_TYPES))
CONTENT_TYPE, JSON_ROWS = "content_type", "pd_json"
_LENGTH = struct.Struct("<I")
# What these ask for in Triton is not done here, and an answer that ignored them would be another than was asked for.
UNSUPPORTED_PARAMETERS = frozenset(
    {
        "class_count",
        "classification",
        "priority",
        "sequence_end",
        "sequence_id",
        "sequence_start",
        "shared_memory_byte_size",
        "shared_memory_offset",
        "shared_memory_region",
        "timeout",
    }
)


@dataclass(slots=True)
class Tensor:
    """A named tensor. `data` is a flat array, or a list of JSON values or texts, nested or flat, in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[Any] | list[Any]

    @property
    def content_type(self) -> str:
        """How MLServer's clients are to read it: as an array with its shape, as texts, or as texts of JSON."""
        return "str" if self.datatype == "BYTES" else "np"


class JsonRows(Tensor):
    """A tensor of texts, each the JSON of one row: the form in which MLServer's data frames hold more than numbers."""

    @property
    def content_type(self) -> str:
        """MLServer's name for it."""
        return JSON_ROWS

    @classmethod
    def of(cls, tensor: Tensor) -> "JsonRows":
        """Return the rows of a numeric tensor."""
        rows = np.reshape(tensor.data, tensor.shape).tolist()
        return cls(tensor.name, "BYTES", (len(rows), 1), [orjson.dumps(row).decode() for row in rows])


@dataclass(slots=True)
class Request:
    """An inference request.

    `outputs` maps the names of wanted outputs to whether they are wanted binary; `json_rows` are wanted as such.
    """

    inputs: list[Tensor]
    id: str | None = None
    outputs: dict[str, bool] | None = None
    binary_output: bool = False
    json_rows: frozenset[str] = frozenset()


@dataclass(slots=True)
class Response:
    """An inference response."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


def parse_request(body: bytes, max_weight: int, json_length: int | None = None) -> Request:
    """Read a request. `json_length` is the header Inference-Header-Content-Length, where tensors follow the JSON.

    Raises:
        RequestError: the body is not a v2 request, or takes more than `max_weight` bytes of memory.
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
        tensor, used = _parse_tensor(item, tail)
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


def _parse_tensor(item: Any, tail: memoryview) -> tuple[Tensor, int]:
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


def refuse_unsupported(parameters: Iterable[str]) -> None:
    """Refuse parameters that mean something this server does not do.

    Raises:
        RequestError: there is one; the message names it.
    """
    for name in parameters:
        if name in UNSUPPORTED_PARAMETERS:
            raise bad_request("protocol", f"the parameter {name!r} is not supported by this server")


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise bad_request("protocol", f"the parameter {name!r} is {shown(value)}, expected true or false")
    return value


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> NDArray[Any] | list[Any]:
    """Return a binary tensor's values: little-endian numbers, or texts each behind its length in four bytes.

    Raises:
        RequestError: the bytes do not fill the shape.
    """
    if datatype == "BYTES":
        return _texts_from_bytes(name, math.prod(shape), bytes(raw))
    dtype = np.dtype(NUMPY_TYPES.get(datatype, "<u1"))
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(raw):
        message = f"input {name!r}: shape {list(shape)} of {datatype} takes {expected} bytes, not {len(raw)}"
        raise bad_request("shape", message)
    values = np.frombuffer(raw, dtype)
    return (values.astype("<u4") << 16).view("<f4") if datatype == "BF16" else values


def _texts_from_bytes(name: str, count: int, raw: bytes) -> list[str]:
    texts, position = [], 0
    try:
        while position < len(raw):
            (length,) = _LENGTH.unpack_from(raw, position)
            position += _LENGTH.size + length
            if position > len(raw):
                raise bad_request("shape", f"input {name!r}: its binary data ends within a text")
            texts.append(raw[position - length : position].decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise bad_request("protocol", f"input {name!r}: its binary data is not a list of UTF-8 texts") from error
    if len(texts) != count:
        raise bad_request("shape", f"input {name!r}: {len(texts)} texts do not fill {count} places")
    return texts


def to_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's values as binary data."""
    if isinstance(tensor.data, list):
        encoded = {text: _LENGTH.pack(len(text.encode())) + text.encode() for text in set(tensor.data)}
        return b"".join([encoded[text] for text in tensor.data])
    return tensor.data.tobytes()


def encode_response(response: Response, request: Request) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part where binary data follows it.

    Raises:
        RequestError: the request asks for an output that there is not.
    """
    outputs, tail = [], []
    for tensor in select(response.outputs, request):
        parameters: dict[str, Any] = {CONTENT_TYPE: tensor.content_type}
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        output["parameters"] = parameters
        if request.outputs[tensor.name] if request.outputs else request.binary_output:
            raw = to_bytes(tensor)
            parameters["binary_data_size"] = len(raw)
            tail.append(raw)
        else:
            output["data"] = tensor.data
        outputs.append(output)
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id is not None:
        document["id"] = response.id
    document["parameters"] = response.parameters
    document["outputs"] = outputs
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (head + b"".join(tail), len(head)) if tail else (head, None)


def select(outputs: list[Tensor], request: Request) -> list[Tensor]:
    """Return the outputs that a request wants, or all where it names none, in the form that it wants.

    Raises:
        RequestError: there is no such output.
    """
    wanted = request.outputs
    if not wanted:
        return outputs
    names = [tensor.name for tensor in outputs]
    if unknown := [name for name in wanted if name not in names]:
        raise bad_request("output", f"there is no output {unknown[0][:200]!r}; there are {', '.join(names)}")
    chosen = [tensor for tensor in outputs if tensor.name in wanted]
    if not request.json_rows:
        return chosen
    return [JsonRows.of(tensor) if tensor.name in request.json_rows else tensor for tensor in chosen]
