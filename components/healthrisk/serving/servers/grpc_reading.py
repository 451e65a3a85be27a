"""From a gRPC message's bytes to its matrix, as `healthrisk.serving.reading` does it for REST."""

from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from healthrisk.serving import wire
from healthrisk.serving.errors import RequestError, bad_request
from healthrisk.serving.reading import Readable, Reading
from healthrisk.serving.servers.grpc_codec import from_message
from healthrisk.serving.servers.grpc_methods import UNDECODABLE
from healthrisk.serving.tensors import Matrix, Request


class MessageReading:
    """Reads messages for one model within its server's limits."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __call__(self, raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:  # noqa: ARG002 - as `Read`
        """Return the request that a message holds, without its tensors, and their matrix.

        Raises:
            RequestError: the message is not a v2 request for this model, or takes too much memory.
        """
        wire.check(raw, self._reading.max_parsed_bytes)
        try:
            message = pb.ModelInferRequest.FromString(raw)
        except DecodeError:
            raise bad_request("undecodable", UNDECODABLE) from None
        if not is_of(model := self._reading.model, message.model_name, message.model_version):
            raise RequestError(404, "not_found", no_such_model(model))
        return self._reading.matrix(from_message(message, self._reading.most_values))


def is_of(model: Readable, name: str, version: str) -> bool:
    """Say whether a call that names a model and perhaps a version is for this one."""
    return name == model.name and version in {"", model.version}


def no_such_model(model: Readable) -> str:
    """Say which model is here, to a call for another."""
    return f"no such model or version; here is model {model.name!r}, version {model.version!r}"
