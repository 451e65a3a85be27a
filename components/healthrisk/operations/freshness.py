"""When the last backup was made, as a gauge at a push gateway: an alert is raised where it grows old."""

from urllib.error import URLError

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from healthrisk.errors import SourceError

_SECONDS = 30.0


def push(gateway: str) -> None:
    """Say that a backup is whole, now.

    Raises:
        SourceError: the gateway does not take it.
    """
    registry = CollectorRegistry()
    Gauge("healthrisk_backup_seconds", "When the last backup was whole.", registry=registry).set_to_current_time()
    try:
        push_to_gateway(gateway, "healthrisk-backup", registry, timeout=_SECONDS)
    except (URLError, OSError, ValueError) as error:
        raise SourceError(f"{gateway} does not take gauges as a push gateway does: {error}") from error
