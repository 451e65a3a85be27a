"""The page that Prometheus reads, on a port of its own: whoever may ask for predictions need not see all others'."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, make_asgi_app

PATH = "/metrics"
_Message = MutableMapping[str, Any]


class MetricsPage:
    """An ASGI application with one path. It runs on the server's event loop, where the counts are made."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._page = make_asgi_app(registry)

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}:
            await self._page(scope, receive, send)
            return
        body = b'{"error":"there is only GET %b here"}' % PATH.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
