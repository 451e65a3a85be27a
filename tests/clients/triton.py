"""Ask by Triton's clients: `python tests/clients/triton.py REST-ADDRESS GRPC-ADDRESS MODEL ROW`.

Prints, as JSON, what each way of asking gave, and what the clients learned of the server.
"""

import asyncio
import json
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio

rest, grpc, model, row = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])


def inputs(kind: Any, datatype: str = "FP64", dtype: Any = np.float64) -> list[Any]:
    tensors = []
    for name, value in row.items():
        tensor = kind.InferInput(name, [1], datatype)
        tensor.set_data_from_numpy(np.array([value], dtype))
        tensors.append(tensor)
    return tensors


def read(result: Any) -> dict[str, Any]:
    return {
        "probability": result.as_numpy("probability").tolist(),
        # Out of JSON it comes as a text, out of binary data as bytes.
        "risk_level": [text if isinstance(text, str) else text.decode() for text in result.as_numpy("risk_level")],
    }


def ask_http() -> dict[str, Any]:
    answers = {}
    with over_http.InferenceServerClient(rest) as client:
        server = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready() and client.is_model_ready(model),
            "extensions": client.get_server_metadata()["extensions"],
            "inputs": [tensor["name"] for tensor in client.get_model_metadata(model)["inputs"]],
            "config": client.get_model_config(model),
        }
        for packed in (None, "gzip", "deflate"):
            # Many rows, so that the answer is worth packing.
            matrix = over_http.InferInput("features", [200, len(row)], "FP64")
            matrix.set_data_from_numpy(np.tile(np.array(list(row.values())), (200, 1)))
            given = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
            answer = client.infer(model, [matrix], **given)
            answers[f"http {packed}"] = {name: values[:1] for name, values in read(answer).items()}
        outputs = [over_http.InferRequestedOutput(name, binary_data=False) for name in ("probability", "risk_level")]
        answers["http JSON"] = read(client.infer(model, inputs(over_http), outputs=outputs))
        answers["http BF16"] = read(client.infer(model, inputs(over_http, "BF16", ml_dtypes.bfloat16)))
        server["statistics"] = client.get_inference_statistics(model)["model_stats"][0]
    return {"server": server, "answers": answers}


async def ask_http_aio() -> dict[str, Any]:
    async with over_http_aio.InferenceServerClient(rest) as client:
        return read(await client.infer(model, inputs(over_http), request_compression_algorithm="gzip"))


def ask_grpc() -> dict[str, Any]:
    with over_grpc.InferenceServerClient(grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert client.get_model_metadata(model).name == model
        plain = client.infer(model, inputs(over_grpc))
        packed = client.infer(model, inputs(over_grpc), compression_algorithm="gzip")
        halves = client.infer(model, inputs(over_grpc, "BF16", ml_dtypes.bfloat16))
        answers = {"grpc": plain, "grpc gzip": packed, "grpc BF16": halves}
        return {name: read(answer) for name, answer in answers.items()}


async def ask_grpc_aio() -> dict[str, Any]:
    async with over_grpc_aio.InferenceServerClient(grpc) as client:
        return read(await client.infer(model, inputs(over_grpc)))


def main() -> None:
    printed = ask_http()
    printed["answers"]["http aio"] = asyncio.run(ask_http_aio())
    printed["answers"] |= ask_grpc()
    printed["answers"]["grpc aio"] = asyncio.run(ask_grpc_aio())
    print(json.dumps(printed))


if __name__ == "__main__":
    main()
