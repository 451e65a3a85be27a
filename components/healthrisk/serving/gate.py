"""Admission: how many requests are under way, how many may be, and whether the server is on its way out."""

from dataclasses import dataclass

from healthrisk.serving.errors import unavailable


@dataclass(frozen=True)
class Limits:
    """What one server accepts. Times are in seconds, sizes in bytes."""

    max_rows: int = 100_000
    max_body_bytes: int = 16 * 2**20
    max_header_bytes: int = 16 * 2**10
    max_in_flight: int = 128
    max_connections: int = 2048
    # From a request's first byte to its last.
    request_seconds: float = 10.0
    # How long a server that was told to stop goes on answering, so that whoever sends requests learns of it.
    drain_seconds: float = 3.0


class Gate:
    """Counts requests in and out; at the limit it refuses at once, which costs less than a queue nobody waits for."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.in_flight = 0
        self.draining = False

    def enter(self) -> None:
        """Let one request in.

        Raises:
            RequestError: 503, as many are under way as are allowed.
        """
        if self.in_flight >= self.limits.max_in_flight:
            raise unavailable("overloaded", f"overloaded: {self.in_flight} requests are under way")
        self.in_flight += 1

    def leave(self) -> None:
        """Let one request out."""
        self.in_flight -= 1
