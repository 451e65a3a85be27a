"""Connections to a cluster's gateway by a way of one's own, such as a forwarded port."""

import ssl
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

from tests.support.patience import ANSWER

HOST = "healthrisk.localhost"
# What Envoy Gateway makes for our gateway.
SELECTOR = "gateway.envoyproxy.io/owning-gateway-name=healthrisk"


def connect(address: str, trusted: Path) -> HTTPConnection:
    """Return a connection to an address at which the gateway answers, whose own certificate is trusted alone.

    Requests by it must say HOST.
    """
    host, _, port = address.partition(":")
    return _Trusting(host, int(port), context=ssl.create_default_context(cafile=trusted), timeout=ANSWER)


class _Trusting(HTTPSConnection):
    """A connection to an address at which another host answers."""

    def connect(self) -> None:
        HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=HOST)  # type: ignore[attr-defined]
