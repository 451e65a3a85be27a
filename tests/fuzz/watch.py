"""Whoever asks for health while servers are attacked, and looks at their memory.

In threads, so that the attack's own work is not measured.
"""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable
from statistics import median

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fuzz.target import Target

PAUSE_SECONDS = 0.1
# A server that has ended does not hold the campaign up for longer.
PATIENCE_SECONDS = 60.0
# As kubelet has an address of its own.
SOURCE = ("127.0.0.2", 0)
RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE})


class Watch(threading.Thread):
    """Asks one server without end: over a connection that is kept, over new ones, and over gRPC.

    `seconds` are those of each answer, `mebibytes` the memory in between. `overslept` is by how much the longest pause
    was longer than it was meant to be: the machine's own part in them.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.seconds: list[float] = []
        self.mebibytes: list[float] = []
        self.overslept = 0.0
        self.faults: list[str] = []
        self._ended = threading.Event()
        self._kept = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.target.server.ports[0], PATIENCE_SECONDS, SOURCE)

    def run(self) -> None:
        """Ask until `end`."""
        with grpc.insecure_channel(self.target.server.grpc) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            while not self._ended.is_set():
                for ask in (self._ask_kept, self._ask_anew, lambda: ask_grpc(check)):
                    self._time(ask)
                self.mebibytes.append(self.target.server.rss() * 1e6 / 2**20)
                began = time.monotonic()
                self._ended.wait(PAUSE_SECONDS)
                self.overslept = max(self.overslept, time.monotonic() - began - PAUSE_SECONDS)

    def _time(self, ask: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            answer = ask()
        except (OSError, http.client.HTTPException, grpc.RpcError) as error:
            answer = repr(error)
        if answer is not True and not self._ended.is_set():
            self.faults.append(f"{self.target.server.script}: health answered {answer}")
        self.seconds.append(time.monotonic() - began)

    def _ask_kept(self) -> object:
        try:
            return is_live(self._kept)
        except (ConnectionError, http.client.RemoteDisconnected):
            self._kept.close()
            return is_live(self._kept)

    def _ask_anew(self) -> object:
        with contextlib.closing(self._connect()) as connection:
            return is_live(connection)

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join()
        self._kept.close()

    def growth(self) -> float:
        """Return by how many MiB the memory of the last third of the time is above that of the middle third."""
        third = len(self.mebibytes) // 3
        middle, last = self.mebibytes[third : 2 * third], self.mebibytes[2 * third :]
        return median(last) - median(middle)

    def report(self) -> str:
        """Say how long answers took, of all and of the slowest in a thousand."""
        ordered = sorted(self.seconds)
        slow = ordered[int(len(ordered) * 0.999)]
        return (
            f"{self.target.server.script}: {len(ordered):,} answers about health, the slowest in {ordered[-1]:.2f} s, "
            f"99.9 % within {slow:.2f} s (pauses of {PAUSE_SECONDS} s were up to {self.overslept:.2f} s longer); "
            f"{median(self.mebibytes):.0f} MiB, {self.growth():+.0f} MiB in the last third"
        )


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
