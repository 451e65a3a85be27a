"""Admission: how many requests are under way, how many may be, and whether the server is on its way out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from healthrisk.serving.errors import unavailable


@dataclass(frozen=True)
class Limits:
    """What one server accepts. Times are in seconds, sizes in bytes."""

    max_rows: int = 100_000
    # JSON takes up to thirty times its size when it is parsed.
    max_body_bytes: int = 8 * 2**20
    max_header_bytes: int = 16 * 2**10
    max_in_flight: int = 128
    # Of all bodies together that are coming in or being answered.
    max_held_bytes: int = 32 * 2**20
    max_connections: int = 2048
    # From a request's first byte to its last, and as long again for a client to take a large answer.
    request_seconds: float = 10.0
    # How long a server that was told to stop goes on answering, so that whoever sends requests learns of it.
    drain_seconds: float = 3.0


class AdmissionController:
    """Counts requests in and out; at the limit it refuses at once, which costs less than a queue nobody waits for."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.held_bytes = 0
        self.draining = False

    def enter(self) -> None:
        """Let one request in.

        Raises:
            RequestError: 503, as many are under way as are allowed.
        """
        if self.in_flight >= self.limits.max_in_flight:
            raise unavailable("overloaded", f"overloaded: {self.in_flight} requests are under way")
        self.in_flight += 1

    def leave(self, size: int) -> None:
        """Let one request out, of which so many bytes are held."""
        self.in_flight -= 1
        self.held_bytes -= size

    def hold(self, size: int) -> None:
        """Count bytes of a request that is in, whether they are its body or a part of it.

        Raises:
            RequestError: 503, all requests together have too many.
        """
        self.held_bytes += size
        if self.held_bytes > self.limits.max_held_bytes:
            raise unavailable("overloaded", f"overloaded: requests of {self.held_bytes} bytes are under way")

    @contextmanager
    def release_slot(self) -> Iterator[None]:
        """Let a request that is in wait outside for its body, so that slow clients keep nobody out.

        Raises:
            RequestError: 503, as many are under way as are allowed when the body is there.
        """
        self.in_flight -= 1
        try:
            yield
            self.enter()
        except BaseException:
            self.in_flight += 1
            raise
