"""The front of gRPC before a real gRPC server, in this process."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from healthrisk.serving import grpc_front
from healthrisk.serving.admission import AdmissionController, Limits

ANSWER = 60


def test_calls_of_a_few_bytes_are_let_in_whatever_others_hold(tmp_path: Path) -> None:
    async def ask() -> None:
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        server.add_insecure_port(f"unix:{tmp_path}/grpc")
        await server.start()
        admission = AdmissionController(Limits())
        listening = await grpc_front.listen("127.0.0.1", 0, f"{tmp_path}/grpc", admission)
        host, port = listening.sockets[0].getsockname()
        async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            admission.held_bytes = admission.limits.max_held_bytes
            # An unknown service has a name of any length.
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await check(HealthCheckRequest(service="x" * 900), timeout=ANSWER)
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
            assert (await check(HealthCheckRequest(), timeout=ANSWER)).status == HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await check(HealthCheckRequest(service="x" * 2000), timeout=ANSWER)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        listening.close()
        await server.stop(grace=None)
        # What calls held is given back.
        assert admission.held_bytes == admission.limits.max_held_bytes

    asyncio.run(ask())
