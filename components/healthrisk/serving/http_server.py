"""Uvicorn with the limits of `http_protocol`, started and stopped by whoever runs the process."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn

from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.body import Asgi
from healthrisk.serving.connection_table import ConnectionTable
from healthrisk.serving.http_protocol import LimitedProtocol, Tables


def make(
    app: Asgi, where: tuple[str, int], admission: AdmissionController, connections: int, **options: Any
) -> uvicorn.Server:
    """Return a server of an application on a host and port; `options` are those of `uvicorn.Config`."""
    tables = Tables(ConnectionTable(connections), ConnectionTable(admission.limits.max_http2_connections))
    # An uvicorn.Config takes any maker of protocols.
    protocol = partial(LimitedProtocol, admission=admission, tables=tables)
    host, port = where
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **options,
    )
    return _Uvicorn(config)


def drain_when_told(server: uvicorn.Server, admission: AdmissionController, announce: Callable[[], None]) -> None:
    """On SIGTERM or SIGINT say that this process goes, answer on while callers learn of it, then finish what is left.

    Told twice, it answers on no longer. `announce` is called each time.
    """
    loop = asyncio.get_running_loop()

    def drain() -> None:
        announce()
        seconds = 0.0 if admission.draining else admission.limits.drain_seconds
        admission.draining = True
        loop.call_later(seconds, setattr, server, "should_exit", True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)


class _Uvicorn(uvicorn.Server):
    """Uvicorn without signal handlers: the process has its own, for all that it serves."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()
