"""Whoever asks for health while servers are attacked, and looks at their memory.

In processes of their own, so that the attack's own work is not measured.
"""

import contextlib
import http.client
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fuzz.target import Target

PAUSE_SECONDS = 0.1
# A server that has ended does not hold the campaign up for longer.
PATIENCE_SECONDS = 60.0
# As kubelet has an address of its own. gRPC cannot choose one: it comes from 127.0.0.1, attackers do not.
SOURCE = ("127.0.0.2", 0)
RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE})


@dataclass
class Seen:
    """What was seen of one server.

    `seconds` are those of each answer, `slowest` by the way of asking, `mebibytes` the memory in between. `overslept`
    is by how much the longest pause was longer than it was meant to be: the machine's own part in them.
    """

    seconds: list[float] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    mebibytes: list[float] = field(default_factory=list)
    overslept: float = 0.0
    faults: list[str] = field(default_factory=list)


class Watch:
    """Asks one server without end: over a connection that is kept, over new ones, and over gRPC."""

    def __init__(self, target: Target) -> None:
        self.script = target.server.script
        self.seen = Seen()
        context, server = multiprocessing.get_context("spawn"), target.server
        self._told, others = context.Pipe()
        self._process = context.Process(
            target=_watch, args=(others, server.ports[0], server.grpc, server.pid), daemon=True
        )
        self._process.start()

    def end(self) -> None:
        """Ask no more."""
        self._told.send(None)
        self.seen = self._told.recv()
        self.seen.faults = [f"{self.script}: {fault}" for fault in self.seen.faults]
        self._process.join()

    def at_rest(self) -> list[float]:
        """Return the MiB held when no large request was read: the first decile of each quarter of the time."""
        size = max(1, len(self.seen.mebibytes) // 4)
        quarters = [sorted(self.seen.mebibytes[size * number : size * (number + 1)]) for number in range(4)]
        return [quarter[len(quarter) // 10] for quarter in quarters if quarter]

    def growth(self) -> float:
        """Return by how many MiB the memory at rest grew in the half of the time that ends with the last quarter."""
        rest = self.at_rest()
        return rest[-1] - rest[len(rest) // 4]

    def report(self) -> str:
        """Say how long answers took, of all and of the slowest in a thousand."""
        ordered = sorted(self.seen.seconds)
        slow = ordered[int(len(ordered) * 0.999)]
        ways = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in self.seen.slowest.items())
        return (
            f"{self.script}: {len(ordered):,} answers about health, the slowest {ways}; 99.9 % within {slow:.2f} s "
            f"(pauses of {PAUSE_SECONDS} s were up to {self.seen.overslept:.2f} s longer); "
            f"{median(self.seen.mebibytes):.0f} MiB, at rest {', '.join(f'{part:.0f}' for part in self.at_rest())} "
            f"in the quarters of the time"
        )


def _watch(told: Connection, port: int, address: str, pid: int) -> None:
    """Ask until told to end, and then tell what was seen."""
    seen, process = Seen(), psutil.Process(pid)
    kept = _connect(port)

    def ask_kept() -> object:
        try:
            return is_live(kept)
        except (ConnectionError, http.client.RemoteDisconnected):
            kept.close()
            return is_live(kept)

    def ask_anew() -> object:
        with contextlib.closing(_connect(port)) as connection:
            return is_live(connection)

    with contextlib.closing(kept), grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        ways = {"REST": ask_kept, "REST anew": ask_anew, "gRPC": lambda: ask_grpc(check)}
        ended = False
        while not ended:
            for way, ask in ways.items():
                _time(way, ask, seen)
            with contextlib.suppress(psutil.NoSuchProcess):
                seen.mebibytes.append(process.memory_info().rss / 2**20)
            began = time.monotonic()
            ended = told.poll(PAUSE_SECONDS)
            if not ended:
                seen.overslept = max(seen.overslept, time.monotonic() - began - PAUSE_SECONDS)
    told.send(seen)


def _connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, PATIENCE_SECONDS, SOURCE)


def _time(way: str, ask: Callable[[], object], seen: Seen) -> None:
    began = time.monotonic()
    try:
        answer = ask()
    except (OSError, http.client.HTTPException, grpc.RpcError) as error:
        answer = repr(error)
    if answer is not True:
        seen.faults.append(f"health over {way} answered {answer}")
    seen.seconds.append(time.monotonic() - began)
    seen.slowest[way] = max(seen.slowest.get(way, 0.0), seen.seconds[-1])


def is_live(connection: http.client.HTTPConnection) -> object:
    connection.request("GET", "/v2/health/live")
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200 or answer.status


def ask_grpc(check: Callable[..., health_pb2.HealthCheckResponse]) -> object:
    """Ask by gRPC's own service; a connection that makes room for others is made anew, as clients do."""
    for attempt in range(3):
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            if attempt == 2 or error.code() not in RETRIED:
                raise
            continue
        return answer.status == health_pb2.HealthCheckResponse.SERVING or answer.status
    raise AssertionError("unreachable: the last attempt returns or raises")
