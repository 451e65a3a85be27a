"""Heads of HTTP messages: what a request's may not hold, what may be left out of it, and a refusal's."""

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from healthrisk.serving.errors import RETRY_AFTER_SECONDS

Headers = list[tuple[bytes, bytes]]
_OFFERS = frozenset({b"upgrade", b"http2-settings"})


def fault(headers: Headers, version: str) -> str:
    """Return what is wrong with a head over which two servers could disagree, or nothing."""
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings += 1 if value.lower() == b"chunked" else 2
    if hosts > 1 or (not hosts and version != "1.0"):
        return f"the request has {hosts} Host headers, expected one"
    if codings > 1:
        return "the request has another transfer encoding than chunked"
    return ""


def without_offer(headers: Headers) -> bytes:
    """Return headers as they are sent, without the offer of another protocol."""
    kept = []
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            if others := b", ".join(token for token in tokens if token.lower() not in _OFFERS):
                kept.append(b"connection: %b\r\n" % others)
        elif name not in _OFFERS:
            kept.append(b"%b: %b\r\n" % (name, value))
    return b"".join(kept)


def refusal(status: int, message: str) -> bytes:
    """Return an answer after which the connection closes."""
    body = orjson.dumps({"error": message})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
    if status == 503:
        head += b"retry-after: %d\r\n" % RETRY_AFTER_SECONDS
    return b"%b%b\r\n%b" % (STATUS_LINE[status], head, body)
