"""Ways to attack a server with connections: smuggling, pipelines, slow ones, many, HTTP/2 by hand."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from tests.fuzz.attacks import INFER
from tests.fuzz.target import Target
from tests.fuzz.wire import SOURCE, Clock, Tally, connect, exchange, head
from tests.support import http2
from tests.support.patience import ANSWER

SMUGGLED = (
    b"",
    b"host: a\r\nhost: b\r\n",
    b"host: a\r\ntransfer-encoding: gzip, chunked\r\n",
    b"host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n",
    b"host: a\r\ntransfer-encoding:\x0bchunked\r\n",
    b"host: a\r\ntransfer-encoding: xchunked\r\n",
    b"host: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n",
    b"host: a\r\ncontent-length: 4, 4\r\n",
    b"host: a\r\ncontent-length: -4\r\n",
    b"host: a\r\ncontent-length: 0x4\r\n",
    b"host: a\r\ncontent-length : 4\r\n",
    b"host: a\r\n folded: 1\r\n",
    b"host: a\nx: y\r\n",
    b"host: a\r\nx: \x00\r\n",
    b"host: a\r\nupgrade: h2c\r\nconnection: upgrade\r\n",
    b"host: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n",
    b"host: a\r\nx: " + b"y" * 20_000 + b"\r\n",
)
TAILS = (
    b"",
    b"0\r\n\r\n",
    b"1\r\nZ\r\n0\r\n\r\n",
    b"4;a=b\r\nabcd\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
)
LAST = "connection: close\r\n"
# Idle ones, on each port; and messages of full size of which half is sent.
IDLE, HALF_SENT = 300, 80
# Longer than the server gives a request.
LINGER_SECONDS = 12.0


class Intruder:
    """Attacks one server over connections of its own."""

    def __init__(self, target: Target, tally: Tally, seed: int, body_bytes: int) -> None:
        self.target, self.tally = target, tally
        self._port, self._grpc_port, _ = target.server.ports
        self._chance = random.Random(seed)
        self._body_bytes = body_bytes

    def kinds(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]]]]:
        """Return the attacks by name, each with how often it is drawn."""
        return {
            "smuggling": (60, self.smuggling),
            "pipelined": (2, self.pipelined),
            "slow": (6, self.slow),
            "HTTP/2 by hand": (4, self.frames),
        }

    async def smuggling(self) -> None:
        """Send a request that two servers could read differently, and others behind it: none gets two answers."""
        clock, path = Clock(), self._chance.choice(list(self.target.paths.values())).encode()
        line = b"POST " + path + self._chance.choice([b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.1\n", b"\r\n"])
        start = self._chance.choice(SMUGGLED) + b"\r\n" + self._chance.choice(TAILS)
        sent = line + start + head("GET", "/nowhere") + head("GET", "/v2", None, LAST)
        answer = await exchange(self._port, sent, ANSWER)
        self.tally.count("smuggling", answer[9:12].decode("latin-1") or "closed", clock.read(), 3)
        if b"HTTP/1.1 500" in answer or answer.count(b"HTTP/1.1 ") > 3 + answer.count(b"100 Continue"):
            self.tally.faults.append(f"smuggling: {sent[:200]!r} was answered {answer[:2000]!r}")

    async def pipelined(self) -> None:
        """Send many requests at once, with garbage or the end behind them; the good ones are all answered."""
        clock, count = Clock(), self._chance.randrange(1, 200)
        last = self._chance.choice([b"\x00garbage\r\n\r\n", head("GET", "/v2", None, LAST)])
        answer = await exchange(self._port, head("GET", "/v2/health/live") * count + last, ANSWER)
        answered = answer.count(b"HTTP/1.1 200")
        self.tally.count("pipelined", 200 if answered >= count else "closed", clock.read(), count + 1)
        if 0 < answered < count:
            self.tally.faults.append(f"pipelined: {answered} of {count} answered")

    async def slow(self) -> None:
        """Begin a request and send no more of it for a while."""
        clock = Clock()
        start = head("POST", self.target.paths["v1"], 2**20) + b" " * self._chance.choice([0, 1, 2**16, 2**19])
        cut = self._chance.randrange(1, len(start) + 1)
        await exchange(self._port, start[:cut], self._chance.uniform(0, 2))
        self.tally.count("slow", "left", clock.read())

    async def frames(self) -> None:
        """Speak HTTP/2 as nobody should: calls without end, resets, pings, headers without end, frames of no kind."""
        clock, calls = Clock(), self._chance.randrange(1, 100)
        port, path = self._chance.choice(self._two_ports())
        parts = [http2.PREFACE, http2.frame(http2.SETTINGS, 0, 0)]
        for number in range(calls):
            stream = 2 * number + 1
            parts += [http2.call(stream, path), self._frame(stream)]
        await exchange(port, b"".join(parts), self._chance.uniform(0, 2))
        self.tally.count("HTTP/2 by hand", "left", clock.read(), calls)

    def _two_ports(self) -> list[tuple[int, str]]:
        """Return the ports that speak HTTP/2, each with a path that takes a body."""
        return [(self._port, self.target.paths["v1"]), (self._grpc_port, f"/{INFER}")]

    def _frame(self, stream: int) -> bytes:
        continuation = 9
        return self._chance.choice(
            [
                http2.frame(http2.RST_STREAM, 0, stream, b"\x00\x00\x00\x08"),
                http2.frame(http2.DATA, 0, stream, b"\x00\x00\x7f\xff\xff" + bytes(200)),
                http2.frame(http2.PING, 0, 0, bytes(8)),
                http2.frame(continuation, 0, stream, bytes(1000)),
                http2.frame(self._chance.randrange(256), self._chance.randrange(256), stream, bytes(5)),
            ]
        )

    async def siege(self) -> None:
        """Hold hundreds of connections to each port, and on both messages of which half is sent, until they end."""
        clock, writers = Clock(), []
        try:
            for port in (self._port, self._grpc_port):
                for _ in range(IDLE):
                    with contextlib.suppress(OSError):
                        writers.append((await connect(port))[1])
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(HALF_SENT) as senders:
                ports = HALF_SENT // 2 * self._two_ports()
                await asyncio.gather(*(loop.run_in_executor(senders, self._half_a_message, *at) for at in ports))
            await asyncio.sleep(LINGER_SECONDS)
        finally:
            for writer in writers:
                writer.transport.abort()
        self.tally.count("held", "left", clock.read(), len(writers) + HALF_SENT)

    def _half_a_message(self, port: int, path: str) -> None:
        with contextlib.suppress(OSError), contextlib.closing(http2.Client(port, LINGER_SECONDS, SOURCE)) as client:
            client.send(http2.call(1, path))
            client.send_part_of_message(1, self._body_bytes, self._body_bytes // 2)
            client.ends()
