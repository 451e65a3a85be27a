"""When something was last done, as a gauge at a push gateway: an alert is raised where it grows old."""

from typing import Literal
from urllib.error import URLError

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from healthrisk.errors import SourceError

_SECONDS = 30.0


_WORDS = {"backup": "When the last backup was whole.", "records": "When the record of use was last carried."}


def push(gateway: str, what: Literal["backup", "records"]) -> None:
    """Say that a backup is whole, or that the record of use was carried, now.

    Raises:
        SourceError: the gateway does not take it.
    """
    registry = CollectorRegistry()
    Gauge(f"healthrisk_{what}_seconds", _WORDS[what], registry=registry).set_to_current_time()
    try:
        push_to_gateway(gateway, f"healthrisk-{what}", registry, timeout=_SECONDS)
    except (URLError, OSError, ValueError) as error:
        raise SourceError(f"{gateway} does not take gauges as a push gateway does: {error}") from error
