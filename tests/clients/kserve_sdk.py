"""Ask by KServe's own clients: `python tests/clients/kserve_sdk.py URL GRPC-ADDRESS MODEL ROW`; prints the answers."""

import asyncio
import json
import sys
from typing import Any

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

url, grpc, model, row = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])


def request() -> InferRequest:
    return InferRequest(model, [InferInput(name, [1], "FP64", [value]) for name, value in row.items()])


def read(answer: Any) -> list[list[float]]:
    (output,) = [output for output in answer.outputs if output.name == "probability"]
    return output.as_numpy().tolist()


async def main() -> None:
    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=180))
    answers = {"ready": await rest.is_server_ready(url) and await rest.is_model_ready(url, model)}
    answers["v2"] = read(await rest.infer(url, request(), model_name=model))
    await rest.close()
    first = InferenceRESTClient(RESTConfig(protocol="v1", timeout=180))
    answer = await first.infer(url, {"instances": [row]}, model_name=model)
    answers["v1"] = answer["predictions"][0]["probability"]
    await first.close()
    client = InferenceGRPCClient(grpc, timeout=180)
    answers["grpc ready"] = await client.is_server_ready() and await client.is_model_ready(model)
    answers["grpc"] = read(await client.infer(request()))
    await client.close()
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
