"""A server under attack: what good requests to it look like, and what each must be answered."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import golden_matrix
from tests.support.servers import Server

# Between an answer and the bundle's recorded one; floats in JSON are exact.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Target:
    """One server. `rows` are good ones, of which `expected` are the probabilities of the event."""

    server: Server
    model: str
    action: str
    # Tensors of one request, each with its width.
    inputs: dict[str, int]
    rows: list[list[Any]]
    expected: list[float]

    @classmethod
    def of(cls, server: Server, bundle: Bundle) -> "Target":
        """Return the target that a server is: predictors are asked by a matrix, the others by features."""
        golden, name = bundle.golden, bundle.spec.name
        expected = [row[1] for row in golden.probability]
        action = "explain" if server.script == "explainer.py" else "predict"
        if server.script == "predictor.py":
            matrix = bundle.preprocessor.transform(golden_matrix(bundle.spec, golden.rows))
            return cls(server, name, action, {"features": matrix.shape[1]}, matrix.tolist(), expected)
        rows = [list(row) for row in golden.rows]
        return cls(server, name, action, dict.fromkeys(golden.features, 1), rows, expected)

    @property
    def paths(self) -> dict[str, str]:
        verb = "explain" if self.action == "explain" else "infer"
        return {"v1": f"/v1/models/{self.model}:{self.action}", "v2": f"/v2/models/{self.model}/{verb}"}

    def document(self, protocol: str, row: int) -> dict[str, Any]:
        """Return a good request as JSON."""
        values = self.rows[row]
        if protocol == "v1":
            return {
                "instances": [dict(zip(self.inputs, values, strict=True)) if len(self.inputs) > 1 else list(values)]
            }
        return {"id": "a", "inputs": self._tensors(values)}

    def _tensors(self, values: list[Any]) -> list[dict[str, Any]]:
        tensors, datatype = [], "FP64" if len(self.inputs) > 1 else "FP32"
        for name, width in self.inputs.items():
            own, values = values[:width], values[width:]
            tensors.append({"name": name, "datatype": datatype, "shape": [1, width], "data": own})
        return tensors

    def message(self, row: int) -> pb.ModelInferRequest:
        """Return a good request over gRPC."""
        message = pb.ModelInferRequest(model_name=self.model)
        for tensor in self._tensors([float("nan") if value is None else value for value in self.rows[row]]):
            data = tensor.pop("data")
            kind = "fp64_contents" if tensor["datatype"] == "FP64" else "fp32_contents"
            getattr(message.inputs.add(**tensor).contents, kind).extend(data)
        return message

    def is_right(self, row: int, body: bytes) -> bool:
        """Say whether a JSON answer holds the row's probability, and an explanation adds up to it."""
        answer = json.loads(body)
        if "outputs" in answer:
            outputs = {output["name"]: output["data"] for output in answer["outputs"]}
            return self._near(row, outputs["probability"][1])
        (one,) = answer.get("explanations") or answer["predictions"]
        if self.action == "explain":
            total = one["base"] + sum(part["contribution"] for part in one["contributions"])
            return self._near(row, one["probability"]) and self._near(row, total)
        return self._near(row, one[1] if isinstance(one, list) else one["probability"])

    def is_right_message(self, row: int, raw: bytes) -> bool:
        """Say whether an answer over gRPC holds the row's probability."""
        answer = pb.ModelInferResponse.FromString(raw)
        (place,) = [number for number, output in enumerate(answer.outputs) if output.name == "probability"]
        datatype = "<f8" if answer.outputs[place].datatype == "FP64" else "<f4"
        return self._near(row, float(np.frombuffer(answer.raw_output_contents[place], datatype)[1]))

    def _near(self, row: int, probability: float) -> bool:
        return abs(probability - self.expected[row]) <= TOLERANCE
