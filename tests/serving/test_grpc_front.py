"""The front of gRPC before a real gRPC server, in this process."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from healthrisk.serving import grpc_front
from healthrisk.serving.admission import AdmissionController, Limits
from tests.support import http2
from tests.support.http2 import PREFACE

ANSWER = 60
SETTINGS = http2.frame(http2.SETTINGS, 0, 0)


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


def test_only_those_who_speak_http2_reach_grpc(tmp_path: Path) -> None:
    """Hundreds of connections without a word would keep gRPC's own server from answering health for a second."""
    connected, reached = 0, b""

    async def connect() -> None:
        async def reach(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connected, reached
            connected += 1
            reached = await reader.readexactly(len(PREFACE) + len(SETTINGS))
            writer.write(b"hello")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            left.set()

        left = asyncio.Event()
        upstream = await asyncio.start_unix_server(reach, f"{tmp_path}/grpc")
        listening = await grpc_front.listen("127.0.0.1", 0, f"{tmp_path}/grpc", AdmissionController(Limits()))
        at = listening.sockets[0].getsockname()
        _, silent = await asyncio.open_connection(*at)
        answered, other = await asyncio.open_connection(*at)
        other.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await answered.read() == b""
        answered, client = await asyncio.open_connection(*at)
        client.write(PREFACE[:10])
        await client.drain()
        await asyncio.sleep(0.1)
        client.write(PREFACE[10:])
        await client.drain()
        # Settings, in a part of their own while the connection is made.
        client.write(SETTINGS)
        async with asyncio.timeout(ANSWER):
            assert await answered.readexactly(5) == b"hello"
        for writer in (silent, other, client):
            writer.close()
        await left.wait()
        listening.close()
        upstream.close()

    asyncio.run(connect())
    assert (connected, reached) == (1, PREFACE + SETTINGS)
