"""The limit of the two-hop shape: bare ASGI to bare ASGI, JSON both ways, no check, metric, log or error of any kind.

BUNDLE names the bundle; with PREDICTOR, the predictor's address, this is the transformer. Run by uvicorn.
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


async def transform(inputs: dict[str, Any]) -> dict[str, Any]:
    global session  # noqa: PLW0603 - it needs the running loop
    session = session or aiohttp.ClientSession(os.environ["PREDICTOR"])
    given = {tensor["name"]: tensor["data"] for tensor in inputs["inputs"]}
    matrix = np.array([given[name] for name in bundle.spec.features], dtype=np.float64).T
    features = bundle.preprocessor.transform(matrix)
    data = {"inputs": [{"name": "features", "datatype": "FP32", "shape": features.shape, "data": features.ravel()}]}
    body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    async with session.post("/v2/models/risk/infer", data=body) as answer:
        output = orjson.loads(await answer.read())["outputs"][0]
    rows, classes = output["shape"]
    positive = output["data"][1::classes]
    prediction = {"name": "prediction", "datatype": "INT64", "shape": [rows], "data": [int(p > 0.5) for p in positive]}
    return {"model_name": "risk", "outputs": [prediction, output]}


async def predict(inputs: dict[str, Any]) -> dict[str, Any]:
    tensor = inputs["inputs"][0]
    matrix = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    probabilities = model.probabilities(matrix)
    output = {"name": "probability", "datatype": "FP32", "shape": probabilities.shape, "data": probabilities.ravel()}
    return {"model_name": "risk", "outputs": [output]}


handle = transform if "PREDICTOR" in os.environ else predict


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
