"""From a request's bytes to its matrix, for each protocol over REST."""

import math
from typing import Any, Protocol

from healthrisk.serving import codec, parsing
from healthrisk.serving.admission import Limits
from healthrisk.serving.answers import ModelMetadata
from healthrisk.serving.tensors import Matrix, Request


class Read(Protocol):
    """Reads a request."""

    def __call__(self, raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        """Return the request without its tensors, and their matrix [rows, columns], every value checked.

        `json_length` is how many bytes of the body are JSON, where binary data follows it.

        Raises:
            RequestError: the body is not a request for this model, or takes too much.
        """
        ...


class Readable(Protocol):
    """A model, as far as its requests are read."""

    name: str
    version: str

    # Reading is apart from answering: a large request is read by another process, by itself.
    def preprocess(self, payload: Request) -> Matrix:
        """Return the matrix [rows, columns] of a v2 request, every value checked."""
        ...

    def preprocess_v1(self, document: Any) -> Matrix:
        """Return the matrix [rows, columns] of a v1 request's JSON document, every value checked."""
        ...

    def metadata(self) -> ModelMetadata:
        """Describe inputs and outputs as v2 model metadata."""
        ...


class Reading:
    """Reads requests for one model within its server's limits."""

    def __init__(self, model: Readable, limits: Limits) -> None:
        self.model = model
        self.max_parsed_bytes = limits.max_parsed_bytes
        widths = [math.prod(abs(size) for size in tensor["shape"]) for tensor in model.metadata()["inputs"]]
        # Of one tensor.
        self.most_values = limits.max_rows * sum(widths)

    def v1(self, raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:  # noqa: ARG002 - as `Read`
        """Read a request of the v1 protocol, which asks for nothing but its rows."""
        return Request([]), self.model.preprocess_v1(parsing.parse(raw, self.max_parsed_bytes))

    def v2(self, raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        """Read a request of the v2 protocol."""
        request = codec.parse_request(raw, self.max_parsed_bytes, self.most_values, json_length)
        return self.matrix(request)

    def matrix(self, request: Request) -> tuple[Request, Matrix]:
        """Return the request without its tensors, and their matrix."""
        matrix = self.model.preprocess(request)
        request.inputs.clear()
        return request, matrix
