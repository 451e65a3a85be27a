"""Ask a served model over gRPC with kserve's own client: `python ask_grpc.py HOST:PORT [REQUEST.json]`."""

import asyncio
import json
import sys
from pathlib import Path

from kserve import InferenceGRPCClient, InferInput, InferRequest

EXAMPLE = Path(__file__).with_name("heart-disease-v2.json")


async def main() -> None:
    """Send a v2 request's tensors and print each output."""
    address, path = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else EXAMPLE
    tensors = json.loads(path.read_text())["inputs"]
    # A typed tensor has no null; NaN in a float tensor stands for a missing value.
    inputs = [
        InferInput(one["name"], one["shape"], "FP64", [float("nan") if v is None else v for v in one["data"]])
        for one in tensors
    ]
    client = InferenceGRPCClient(address)
    answer = await client.infer(InferRequest(path.stem.removesuffix("-v2"), inputs))
    for output in answer.outputs:
        print(output.name, output.as_numpy().tolist())
    await client.close()


asyncio.run(main())
