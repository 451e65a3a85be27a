"""The predictor: model inputs in, class probabilities out. `python kserve/predictor.py --bundle URI`."""

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import Bundle
from healthrisk.bundle.classifier import GRAPH, LINEAR
from healthrisk.inference.scorer import Scorer
from healthrisk.serving.answers import Probabilities, TensorMetadata
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import bad_request, too_large
from healthrisk.serving.rows import MATRIX, flatten
from healthrisk.serving.servers.model_server import BundleServer, serve
from healthrisk.serving.servers.served_model import BundleModel
from healthrisk.serving.tensors import Request, Response, Tensor

# What v2's metadata call the kind of model; the protocol has no name for plain numbers.
PLATFORMS = {GRAPH: "onnx_onnxv1", LINEAR: "healthrisk_linear"}

_AT_ONCE_ROWS = 4096


class Predictor(BundleModel):
    """Runs the bundle's classifier on the matrix that the transformer made."""

    def __init__(self, name: str, bundle: Bundle, max_rows: int) -> None:
        super().__init__(name, bundle)
        self.platform = PLATFORMS[bundle.manifest.form]
        self._max_rows = max_rows
        self._width = len(bundle.preprocessor.outputs)

    def load(self) -> bool:
        """Load the classifier, and score the bundle's golden rows.

        Raises:
            BundleError: an answer differs from the recorded one.
        """
        scorer = Scorer(self.bundle)
        scorer.replay_golden()
        self._model = scorer.model
        self.ready = True
        return self.ready

    def get_input_types(self) -> list[TensorMetadata]:
        """Describe the one input."""
        return [{"name": MATRIX, "datatype": "FP32", "shape": [-1, self._width]}]

    def get_output_types(self) -> list[TensorMetadata]:
        """Describe the one output."""
        return [{"name": "probability", "datatype": "FP32", "shape": [-1, len(self.bundle.spec.target.classes)]}]

    async def infer(self, matrix: NDArray[np.float32], request_id: str | None, context: Context) -> Response:
        """Answer a v2 request whose matrix this is."""
        probabilities = await self.predict(matrix, context)
        output = Tensor("probability", "FP32", probabilities.shape, probabilities.ravel())
        return Response(self.name, self.version, [output], request_id, {"digest": self.bundle.digest})

    async def predict_v1(self, matrix: NDArray[np.float32], context: Context) -> Probabilities:
        """Answer a v1 request whose matrix this is."""
        return {"predictions": list(await self.predict(matrix, context))}

    def preprocess(self, payload: Request) -> NDArray[np.float32]:
        """Return the matrix [rows, width] out of a request."""
        tensor = payload.inputs[0]
        if len(payload.inputs) != 1 or tensor.name != MATRIX or tensor.datatype != "FP32":
            raise bad_request("features", f"expected the one input {MATRIX!r} of datatype FP32")
        if len(tensor.shape) != 2 or tensor.shape[1] != self._width or tensor.shape[0] < 1:
            raise bad_request(
                "shape", f"input {MATRIX!r} has shape {list(tensor.shape)}, expected [rows, {self._width}]"
            )
        if tensor.shape[0] > self._max_rows:
            raise too_large(f"the request has {tensor.shape[0]} rows, at most {self._max_rows} are allowed")
        data = tensor.data if isinstance(tensor.data, np.ndarray) else flatten(tensor)
        if len(data) != tensor.shape[0] * self._width or (
            isinstance(data, list) and not set(map(type, data)) <= {int, float}
        ):
            raise bad_request("type", f"input {MATRIX!r} must hold {tensor.shape[0] * self._width} numbers")
        # A number beyond float32 becomes infinite, and is refused with the others.
        with np.errstate(over="ignore"):
            matrix = np.asarray(data, dtype=np.float64).astype(np.float32) if isinstance(data, list) else data
            matrix = matrix.reshape(tensor.shape)
        if not np.isfinite(matrix).all():
            raise bad_request(
                "range", f"input {MATRIX!r} must hold finite numbers; missing values are the transformer's to fill"
            )
        return matrix

    def preprocess_v1(self, document: Any) -> NDArray[np.float32]:
        """Return the matrix of a v1 request whose instances are its rows."""
        instances = document.get("instances") if isinstance(document, dict) else None
        if not isinstance(instances, list) or not all(
            isinstance(row, list) and len(row) == self._width for row in instances
        ):
            raise bad_request("protocol", f"'instances' must be a list of rows of {self._width} numbers")
        return self.preprocess(Request([Tensor(MATRIX, "FP32", (len(instances), self._width), instances)]))

    async def predict(self, payload: NDArray[np.float32], context: Context) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes]."""
        context.rows = len(payload)
        if len(payload) <= _AT_ONCE_ROWS:
            return self._model.probabilities(payload)
        # A hundred thousand rows take a forest most of a second, in which others ask for health.
        return await asyncio.to_thread(self._model.probabilities, payload)


def make(server: BundleServer, bundle: Bundle) -> Predictor:
    """Return the model of this server, not loaded yet."""
    return Predictor(server.model_name, bundle, server.limits.max_rows)


def main() -> int:
    """Serve until asked to stop; return the exit code."""
    return serve(make)
