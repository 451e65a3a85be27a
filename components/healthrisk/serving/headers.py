"""What the servers read in a request's headers."""

import re

from healthrisk.serving import compression
from healthrisk.serving.errors import RequestError, bad_request

Headers = dict[bytes, bytes]
JSON = b"application/json"
BINARY = b"application/octet-stream"
_NAME = re.compile(rb"[!-~]{1,128}")
# Set by the gateway once it knows who asks, and taken by it from whoever comes with one.
CALLER = b"x-caller"
_MOST_DIGITS = 11


def by_name(pairs: list[tuple[bytes, bytes]]) -> Headers:
    """Return headers by name: of those that come more than once the last, but of `tracestate` all."""
    headers = dict(pairs)
    if b"tracestate" in headers:
        headers[b"tracestate"] = b",".join(value for name, value in pairs if name == b"tracestate")
    return headers


def request_id(headers: Headers) -> str:
    """Return the client's name for its request; empty if it gives none, or one that no log should hold."""
    return _name(headers.get(b"x-request-id", b""))


def caller(headers: Headers) -> str:
    """Return who asks, as the gateway says; empty where it says nothing, or nothing that a name could be."""
    return _name(headers.get(CALLER, b""))


def _name(given: bytes) -> str:
    return given.decode() if _NAME.fullmatch(given) else ""


def content_type(headers: Headers, *accepted: bytes) -> bytes:
    """Return a body's type, JSON where none is given.

    Raises:
        RequestError: 415, the type or the encoding is none that is accepted.
    """
    kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower() or JSON
    if kind not in accepted:
        names = " or ".join(name.decode() for name in accepted)
        raise RequestError(
            415, "content_type", f"content type {kind[:80].decode('latin-1')!r} is not accepted, expected {names}"
        )
    encoding = headers.get(b"content-encoding", b"identity").lower().decode("latin-1")
    if encoding not in {"identity", *compression.ENCODINGS}:
        names = " or ".join(sorted(compression.ENCODINGS))
        raise RequestError(415, "content_type", f"content encoding {encoding[:80]!r} is not accepted, expected {names}")
    return kind


def json_length(headers: Headers) -> int | None:
    """Return how long the JSON before binary tensors is, or None where the whole body is JSON.

    Raises:
        RequestError: the body is of neither type, or the header that says it is missing or holds no number.
    """
    kind = content_type(headers, JSON, BINARY)
    length = headers.get(b"inference-header-content-length")
    if length is not None and not (length.isdigit() and len(length) <= _MOST_DIGITS):
        raise bad_request("protocol", "Inference-Header-Content-Length must be a whole number")
    if kind == BINARY and length is None:
        raise bad_request("protocol", "binary data need the header Inference-Header-Content-Length")
    return None if length is None else int(length)
