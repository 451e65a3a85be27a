"""What a request's head may not hold, and what may be left out of it."""

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
