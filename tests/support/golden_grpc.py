"""A bundle's golden rows asked over gRPC."""

from typing import Any

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.inference.scorer import golden_matrix
from tests.support.patience import ANSWER


def probabilities(channel: grpc.Channel, bundle: Bundle, **metadata: str) -> NDArray[np.float32]:
    """Return what a channel's server answers [rows, classes]; `metadata` names have underscores for dashes."""
    rows = encoding.decode(bundle.spec, golden_matrix(bundle.spec, bundle.golden.rows))
    request = pb.ModelInferRequest(model_name=bundle.spec.name)
    for column, values in zip(bundle.spec.columns, zip(*rows, strict=True), strict=True):
        tensor = request.inputs.add(
            name=column.name, shape=[len(values)], datatype="BYTES" if column.is_text else "FP64"
        )
        if column.is_text:
            tensor.contents.bytes_contents.extend(("" if value is None else value).encode() for value in values)
        else:
            tensor.contents.fp64_contents.extend(np.nan if value is None else value for value in values)
    sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    answer: Any = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=ANSWER, metadata=sent)
    place = [output.name for output in answer.outputs].index("probability")
    return np.frombuffer(answer.raw_output_contents[place], "<f4").reshape(len(rows), -1)
