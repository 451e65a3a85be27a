"""What the v2 protocol's requests and answers hold, over REST and gRPC alike: tensors, and their form in bytes."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from healthrisk.serving.errors import bad_request, too_large

# Shapes and datatypes are quoted in errors; values of patients are not, outside the fault that names one.
NUMPY_TYPES: dict[str, str] = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    # Numpy has none: the upper half of an FP32.
    "BF16": "<u2",
}
DATATYPES = ("BOOL", "BYTES", *sorted(NUMPY_TYPES))
Matrix = NDArray[Any]
CONTENT_TYPE: Final = "content_type"
JSON_ROWS = "pd_json"
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
    parameters: dict[str, str] = field(default_factory=dict)


def refuse_unsupported(parameters: Iterable[str]) -> None:
    """Refuse parameters that mean something this server does not do.

    Raises:
        RequestError: there is one; the message names it.
    """
    for name in parameters:
        if name in UNSUPPORTED_PARAMETERS:
            raise bad_request("protocol", f"the parameter {name!r} is not supported by this server")


def check_count(name: str, shape: Sequence[int], most_values: int) -> None:
    """Refuse a tensor that announces more values than a request can have.

    Raises:
        RequestError: it does.
    """
    if (count := math.prod(shape)) > most_values:
        raise too_large(f"input {name!r} has {count} values, at most {most_values} are allowed")


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
    texts: list[str] = []
    position = 0
    if len(raw) < count * _LENGTH.size:
        raise bad_request("shape", f"input {name!r}: {len(raw)} bytes do not hold {count} texts and their lengths")
    try:
        while position < len(raw) and len(texts) < count:
            (length,) = _LENGTH.unpack_from(raw, position)
            position += _LENGTH.size + length
            if position > len(raw):
                raise bad_request("shape", f"input {name!r}: its binary data ends within a text")
            texts.append(raw[position - length : position].decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise bad_request("protocol", f"input {name!r}: its binary data is not a list of UTF-8 texts") from error
    if position != len(raw):
        raise bad_request("shape", f"input {name!r}: {len(raw) - position} bytes follow its {count} texts")
    if len(texts) != count:
        raise bad_request("shape", f"input {name!r}: {len(texts)} texts do not fill {count} places")
    return texts


def to_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's values as binary data."""
    if isinstance(tensor.data, list):
        encoded = {text: _LENGTH.pack(len(text.encode())) + text.encode() for text in set(tensor.data)}
        return b"".join([encoded[text] for text in tensor.data])
    return tensor.data.tobytes()


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
