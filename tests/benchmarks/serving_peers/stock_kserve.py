"""A transformer and a predictor as KServe's documentation has them, on the same bundle, with its request logs off.

`python stock_kserve.py BUNDLE [kserve's own arguments]`; with --predictor_host it is the transformer.
"""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import kserve
from healthrisk.bundle import Bundle

bundle = Bundle.open(Path(sys.argv.pop(1)))
Answer = kserve.InferRequest | kserve.InferResponse


class Transformer(kserve.Model):
    def __init__(self) -> None:
        super().__init__("risk")
        self.ready = True

    async def preprocess(self, payload: Any, headers: Any = None) -> kserve.InferRequest:
        given = {tensor.name: tensor.data for tensor in payload.inputs}
        matrix = np.array([given[name] for name in bundle.spec.features], dtype=np.float64).T
        features = bundle.preprocessor.transform(matrix)
        tensor = kserve.InferInput("features", list(features.shape), "FP32")
        tensor.set_data_from_numpy(features, binary_data=False)
        return kserve.InferRequest("risk", [tensor])

    async def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Answer:
        probability = result.outputs[0].as_numpy()
        prediction = kserve.InferOutput("prediction", [len(probability)], "INT64")
        prediction.set_data_from_numpy(probability.argmax(axis=1), binary_data=False)
        output = kserve.InferOutput("probability", list(probability.shape), "FP32")
        output.set_data_from_numpy(probability, binary_data=False)
        return kserve.InferResponse(result.id or "", "risk", [prediction, output])


class Predictor(kserve.Model):
    def __init__(self) -> None:
        super().__init__("risk")
        self.model = bundle.classifier()
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Answer:
        probabilities = self.model.probabilities(payload.inputs[0].as_numpy())
        output = kserve.InferOutput("probability", list(probabilities.shape), "FP32")
        output.set_data_from_numpy(probabilities, binary_data=False)
        return kserve.InferResponse(payload.id, "risk", [output])


if __name__ == "__main__":
    host = kserve.model_server.args.predictor_host
    server = kserve.ModelServer(enable_latency_logging=False)
    for name in ("uvicorn.access", "kserve", "kserve.trace", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # One deprecation warning a request goes to standard error; users of the framework silence it.
    warnings.simplefilter("ignore")
    server.start([Transformer() if host else Predictor()])
