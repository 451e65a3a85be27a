"""The limit of a bare ASGI process, and of two with a hop: JSON both ways, no check, metric, log or error of any kind.

BUNDLE names the bundle. With PREDICTOR, the predictor's address, this is the transformer, with WHOLE both in one. Run
by uvicorn.
"""

import os
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson

from healthrisk.bundle import Bundle

bundle = Bundle.open(Path(os.environ["BUNDLE"]))
model = bundle.classifier()
session: aiohttp.ClientSession | None = None


def preprocess(inputs: dict[str, Any]) -> np.ndarray:
    given = {tensor["name"]: tensor["data"] for tensor in inputs["inputs"]}
    matrix = np.array([given[name] for name in bundle.spec.features], dtype=np.float64).T
    return bundle.preprocessor.transform(matrix)


def answer_of(positive: Any, output: dict[str, Any]) -> dict[str, Any]:
    data = [int(p > 0.5) for p in positive]
    prediction = {"name": "prediction", "datatype": "INT64", "shape": [len(data)], "data": data}
    return {"model_name": "risk", "outputs": [prediction, output]}


async def transform(inputs: dict[str, Any]) -> dict[str, Any]:
    global session  # noqa: PLW0603 - it needs the running loop
    session = session or aiohttp.ClientSession(os.environ["PREDICTOR"])
    features = preprocess(inputs)
    data = {"inputs": [{"name": "features", "datatype": "FP32", "shape": features.shape, "data": features.ravel()}]}
    body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    async with session.post("/v2/models/risk/infer", data=body) as answer:
        output = orjson.loads(await answer.read())["outputs"][0]
    return answer_of(output["data"][1 :: output["shape"][1]], output)


def score(features: np.ndarray) -> dict[str, Any]:
    probabilities = model.probabilities(features)
    return {
        "name": "probability",
        "datatype": "FP32",
        "shape": probabilities.shape,
        "data": probabilities.ravel(),
    }


async def predict(inputs: dict[str, Any]) -> dict[str, Any]:
    tensor = inputs["inputs"][0]
    features = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    return {"model_name": "risk", "outputs": [score(features)]}


async def both(inputs: dict[str, Any]) -> dict[str, Any]:
    output = score(preprocess(inputs))
    return answer_of(output["data"][1 :: output["shape"][1]].tolist(), output)


handle = transform if "PREDICTOR" in os.environ else both if "WHOLE" in os.environ else predict


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    answer: dict[str, Any] = {}
    if scope["method"] == "POST":
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        answer = await handle(orjson.loads(body))
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
