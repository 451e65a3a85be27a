"""What the transformer and the predictor share: a `kserve.Model` on a bundle."""

from typing import Any

import numpy as np
from kserve.errors import InferenceError, InvalidInput
from kserve.model import InferenceVerb
from numpy.typing import NDArray

import kserve
from healthrisk.bundle import Bundle
from healthrisk.serving.answers import ModelMetadata, TensorMetadata, V1Answer
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import RequestError, bad_request
from healthrisk.serving.rows import RowReader
from healthrisk.serving.tensors import Matrix, Request, Response, Tensor, from_bytes, select


class BundleModel(kserve.Model):
    """A model made from a bundle. Sub-classes are handlers in kserve's sense: preprocess, predict, postprocess."""

    platform = ""
    actions = ("predict", "infer")
    verb = InferenceVerb.PREDICT
    stops_when_unheard = False
    # Whether its requests are of patients' own values, and so go into the record.
    recorded = False

    def __init__(self, name: str, bundle: Bundle) -> None:
        super().__init__(name)
        self.bundle = bundle
        self.version = bundle.version

    def preprocess(self, payload: Request) -> Matrix:
        """Return the matrix [rows, columns] of a v2 request, every value checked."""
        raise NotImplementedError

    def preprocess_v1(self, document: Any) -> Matrix:
        """Return the matrix [rows, columns] of a v1 request's JSON document, every value checked."""
        raise NotImplementedError

    async def infer(self, matrix: Matrix, request_id: str | None, context: Context) -> Response:
        """Answer a v2 request whose matrix this is."""
        raise NotImplementedError

    async def predict_v1(self, matrix: Matrix, context: Context) -> V1Answer:
        """Answer a v1 request whose matrix this is."""
        raise NotImplementedError

    def metadata(self) -> ModelMetadata:
        """Describe inputs and outputs as v2 model metadata."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
            "parameters": {"digest": self.bundle.digest, "dataset": self.bundle.spec.name},
        }

    async def __call__(
        self, body: Any, headers: dict[str, str] | None = None, verb: InferenceVerb = InferenceVerb.PREDICT
    ) -> tuple[Any, dict[str, str]]:
        """Answer kserve's own message types, so that the model also works behind kserve's own routes."""
        if verb is not self.verb:
            raise NotImplementedError(verb.name)
        context = Context("v2", (headers or {}).get("x-request-id", ""))
        try:
            if isinstance(body, kserve.InferRequest):
                request = _from_kserve(body)
                return _to_kserve(await self.infer(self.preprocess(request), request.id, context), request), {}
            return await self.predict_v1(self.preprocess_v1(body), context), {}
        except RequestError as error:
            raise (InvalidInput if error.status < 500 else InferenceError)(str(error)) from error


class RowModel(BundleModel):
    """A model whose inputs are rows of raw values, at most `max_rows` in one request."""

    recorded = True

    def __init__(self, name: str, bundle: Bundle, max_rows: int) -> None:
        super().__init__(name, bundle)
        self._reader = RowReader(bundle.spec, max_rows)

    def get_input_types(self) -> list[TensorMetadata]:
        """Describe the inputs: one tensor a feature."""
        kinds = {"number": "FP64", "integer": "INT64", "code": "INT64"}
        return [
            {"name": column.name, "datatype": "BYTES" if column.is_text else kinds[column.kind], "shape": [-1]}
            for column in self.bundle.spec.columns
        ]

    def preprocess(self, payload: Request) -> NDArray[np.float64]:
        """Return the encoded matrix [rows, features] of a v2 request, every value checked against the spec."""
        return self._reader.read_tensors(payload.inputs)

    def preprocess_v1(self, document: Any) -> NDArray[np.float64]:
        """Return the encoded matrix [rows, features] of a v1 request's JSON document, checked likewise."""
        return self._reader.read_document(document)


def _from_kserve(request: kserve.InferRequest) -> Request:
    tensors = []
    for given in request.inputs:
        data = (
            given.data
            if given._raw_data is None
            else from_bytes(given.name, given.datatype, given.shape, given._raw_data)
        )
        tensors.append(Tensor(given.name, given.datatype, tuple(given.shape), data))
    if not tensors:
        raise bad_request("protocol", "'inputs' must be a list of at least one tensor")
    outputs = {output.name: False for output in request.request_outputs or []}
    return Request(tensors, request.id, outputs or None)


def _to_kserve(response: Response, request: Request) -> kserve.InferResponse:
    outputs = [
        kserve.InferOutput(
            out.name,
            list(out.shape),
            out.datatype,
            out.data if isinstance(out.data, list) else out.data.ravel().tolist(),
        )
        for out in select(response.outputs, request)
    ]
    return kserve.InferResponse(
        response.id or "",
        response.model_name,
        outputs,
        model_version=response.model_version,
        parameters=response.parameters,
    )
