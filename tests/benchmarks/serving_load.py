"""Load from the other core: wrk with bodies from files, and a gRPC client for raw tensors."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from serving_systems import HERE, LOAD_CORE, pinned

JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True)
class Bodies:
    """Request bodies in a folder, sent in turn."""

    folder: Path
    count: int

    @classmethod
    def write(cls, folder: Path, bodies: Sequence[bytes], headers: dict[str, str]) -> "Bodies":
        folder.mkdir(parents=True)
        for number, body in enumerate(bodies):
            (folder / str(number)).write_bytes(body)
        (folder / "headers").write_text("".join(f"{name}: {value}\n" for name, value in headers.items()))
        return cls(folder, len(bodies))


def wrk(url: str, bodies: Bodies, connections: int, seconds: float) -> dict[str, float]:
    """Return requests, seconds, failed requests, and the 50th and 99th percentile of latency in ms."""
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s"]
    environment = os.environ | {"BODIES": str(bodies.folder), "COUNT": str(bodies.count)}
    ended = subprocess.run(
        pinned(LOAD_CORE, [*command, f"--script={HERE}/wrk.lua", url]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    summary: dict[str, float] = json.loads(ended.stdout.split("RESULT ")[1])
    if summary["failed"]:
        raise SystemExit(f"{url}: {summary['failed']} of {summary['requests']} requests failed")
    return summary


def binary_body(columns: dict[str, np.ndarray]) -> tuple[bytes, dict[str, str]]:
    """Return a v2 request with binary tensors both ways, and its headers."""
    inputs, tail = [], b""
    for name, values in columns.items():
        raw = values.astype("<f8").tobytes()
        parameters = {"binary_data_size": len(raw)}
        inputs.append({"name": name, "datatype": "FP64", "shape": [len(values)], "parameters": parameters})
        tail += raw
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return head + tail, headers


def grpc_raw(address: str, model: str, columns: dict[str, np.ndarray], calls_at_once: int, seconds: float) -> float:
    """Return the requests answered a second, of the same raw rows, from a client process of its own."""
    given = json.dumps([address, model, {name: values.tolist() for name, values in columns.items()}])
    command = [sys.executable, __file__, str(calls_at_once), str(seconds)]
    ended = subprocess.run(pinned(LOAD_CORE, command), input=given, capture_output=True, text=True, check=True)
    return float(ended.stdout)


async def _grpc_client(address: str, model: str, columns: dict[str, list[float]], calls: int, seconds: float) -> float:
    import asyncio

    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    request = pb.ModelInferRequest(model_name=model)
    for name, values in columns.items():
        request.inputs.add(name=name, datatype="FP64", shape=[len(values)])
        request.raw_input_contents.append(np.array(values, "<f8").tobytes())
    answered = 0
    async with grpc.aio.insecure_channel(address) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        began = time.perf_counter()

        async def ask() -> None:
            nonlocal answered
            while time.perf_counter() - began < seconds:
                await infer(request)
                answered += 1

        await asyncio.gather(*(ask() for _ in range(calls)))
        return answered / (time.perf_counter() - began)


def _main() -> None:
    import asyncio

    given: Any = json.load(sys.stdin)
    print(asyncio.run(_grpc_client(*given, calls=int(sys.argv[1]), seconds=float(sys.argv[2]))))


if __name__ == "__main__":
    _main()
