"""Ways to attack a server with requests: each sends a few, of a form drawn at random, and counts what comes back."""

import gzip
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc

from tests.fuzz.target import Target
from tests.fuzz.wire import Clock, Connection, Tally, head
from tests.support import heavy
from tests.support.mutation import mutate_bytes, mutated_body
from tests.support.patience import ANSWER

SERVICE = "inference.GRPCInferenceService"
INFER = f"{SERVICE}/ModelInfer"
METHODS = (
    *(f"{SERVICE}/{name}" for name in ("ModelReady", "ModelMetadata", "ServerReady", "ServerLive", "ServerMetadata")),
    "grpc.health.v1.Health/Check",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
BINARY = "content-type: application/octet-stream\r\ninference-header-content-length: {}\r\n"
# One in so many of the bodies that cost most comes packed, as do bombs.
PACKED = 3
# Bytes that are left in a body of full size for what makes it the rows of a request.
WRAPPING = 100


@dataclass(frozen=True)
class Arsenal:
    """The bodies that cost most, made once: of JSON as they are and packed, of binary tensors, of gRPC's messages."""

    bodies: list[bytes]
    packed: list[bytes]
    tensors: list[bytes]
    messages: list[bytes]
    bomb: bytes

    @classmethod
    def of(cls, size: int, max_weight: int) -> "Arsenal":
        """Make them for servers that take so many bytes, which may become so many in memory."""
        bodies = heavy.weightiest(size - WRAPPING, max_weight).values()
        messages = [*heavy.messages(size - 1000).values(), *heavy.messages(max_weight // 40).values()]
        bombs = [bytes(size * 16), b"[" * size * 16]
        return cls(
            list(bodies),
            [gzip.compress(body, 1) for body in (*bodies, *bombs)],
            list(heavy.tensors(size - 4096).values()),
            messages,
            bytes(size * 8),
        )


class Attacker:
    """Attacks one server, over one connection for REST and one channel for gRPC that are kept."""

    def __init__(self, target: Target, arsenal: Arsenal, channel: grpc.aio.Channel, tally: Tally, seed: int) -> None:
        self.target, self.tally = target, tally
        self._arsenal, self._channel = arsenal, channel
        self._chance = random.Random(seed)
        self._connection = Connection(target.server.ports[0])

    def kinds(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]]]]:
        """Return the attacks by name, each with how often it is drawn."""
        return {
            "good": (100, self.good),
            "mutated JSON": (300, self.mutated_json),
            "mutated binary": (60, self.mutated_binary),
            "mutated message": (150, self.mutated_message),
        }

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _post(self, kind: str, protocol: str, body: bytes, more: str = "") -> tuple[int, bytes]:
        clock, path = Clock(), self.target.paths[protocol]
        code, answer = await self._connection.ask(head("POST", path, len(body), more) + body)
        self.tally.count(kind, code, clock.read())
        return code, answer

    async def _call(self, kind: str, message: bytes, method: str = INFER, packed: bool = False) -> bytes:
        clock, code, answer, details = Clock(), grpc.StatusCode.OK, b"", ""
        compression = grpc.Compression.Gzip if packed else grpc.Compression.NoCompression
        try:
            if method.endswith("Info"):
                stream = self._channel.stream_stream(f"/{method}")(iter([message]), timeout=ANSWER)
                answer = b"".join([part async for part in stream])
            else:
                call = self._channel.unary_unary(f"/{method}")
                answer = await call(message, timeout=ANSWER, compression=compression)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
        self.tally.count(kind, code.name, clock.read(), details=details)
        return answer

    def _row(self) -> int:
        return self._chance.randrange(len(self.target.rows))

    async def good(self) -> None:
        """Ask as a client does, by one of the protocols, and compare the answer with the bundle's."""
        row, protocol = self._row(), self._chance.choice(["v1", "v2", "grpc"])
        if protocol == "grpc":
            raw = await self._call("good", self.target.message(row).SerializeToString())
            right = not raw or self.target.is_right_message(row, raw)
        else:
            code, raw = await self._post("good", protocol, dump(self.target.document(protocol, row)))
            right = code != 200 or self.target.is_right(row, raw)
        if not right:
            self.tally.faults.append(f"row {row} over {protocol} of {self.target.server.script}: {raw!r}")

    async def mutated_json(self) -> None:
        """Send a good request with a few parts changed, or with some of its bytes changed."""
        protocol = self._chance.choice(["v1", "v2"])
        body = mutated_body(self.target.document(protocol, self._row()), self._chance)
        await self._post("mutated JSON", protocol, body)

    async def mutated_binary(self) -> None:
        """Send tensors as binary data, with lengths and shapes that may lie."""
        lies = [8, 8, 8, 8, 7, 0, 2**40, -1]
        inputs = [
            {
                "name": name,
                "datatype": self._chance.choice(["FP64"] * 9 + ["BYTES"]),
                "shape": [1],
                "parameters": {"binary_data_size": self._chance.choice(lies) if self._chance.random() < 0.1 else 8},
            }
            for name in self.target.inputs
        ]
        start = dump({"inputs": inputs})
        announced = len(start) + self._chance.choice([0, 0, 0, 1, -1, 10**9])
        body = start + self._chance.randbytes(8 * len(inputs))
        await self._post("mutated binary", "v2", body, BINARY.format(announced))

    async def mutated_message(self) -> None:
        """Send a message with some bytes changed, cut off or added, to any method."""
        message = self.target.message(self._row()).SerializeToString()
        message = mutate_bytes(message, self._chance, self._chance.randrange(6))
        if self._chance.random() < 0.3:
            message = message[: self._chance.randrange(len(message))]
        if self._chance.random() < 0.2:
            message += self._chance.choice([b"\x2a\x00", b"\x78\x00", b"\x3a\x00", b"\x7b"]) * 500
        method = INFER if self._chance.random() < 0.8 else self._chance.choice(METHODS)
        await self._call("mutated message", message, method)

    async def heavy(self) -> None:
        """Send a body of full size that becomes as large as it can, by one of the protocols."""
        protocol = self._chance.choice(["v1", "v2", "binary", "grpc"])
        packed = not self._chance.randrange(PACKED)
        if protocol == "grpc":
            messages = [*self._arsenal.messages, self._arsenal.bomb] if packed else self._arsenal.messages
            await self._call("heavy", self._chance.choice(messages), packed=packed)
        elif protocol == "binary":
            tensor = self._chance.choice(self._arsenal.tensors)
            start = dump({"inputs": [self._announce(name, len(tensor)) for name in list(self.target.inputs)[:1]]})
            await self._post("heavy", "v2", start + tensor, BINARY.format(len(start)))
        elif packed:
            await self._post("heavy", protocol, self._chance.choice(self._arsenal.packed), "content-encoding: gzip\r\n")
        else:
            body = self._chance.choice(self._arsenal.bodies)
            if self._chance.random() < 0.5:
                key = b"instances" if protocol == "v1" else b"inputs"
                body = b'{"%b":%b}' % (key, body)
            await self._post("heavy", protocol, body)

    def _announce(self, name: str, size: int) -> dict[str, object]:
        datatype = self._chance.choice(["BYTES", "FP64", "FP16", "INT8", "BF16"])
        width = {"FP64": 8, "FP16": 2, "BF16": 2}.get(datatype, 1)
        rows = self._chance.choice([1, 100_000, size // width])
        return {"name": name, "datatype": datatype, "shape": [rows, 1], "parameters": {"binary_data_size": size}}


def dump(document: object) -> bytes:
    return json.dumps(document).encode()
