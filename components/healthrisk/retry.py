"""What is tried again: a fault of the network, or a server that is busy or away for a moment; never a refusal."""

from collections.abc import Iterator

from urllib3 import Retry

from healthrisk.config import settings

# Seconds: each wait is twice the one before, up to the longest.
_FIRST, _LONGEST = 0.5, 15.0
# Timed out, too many requests, and what a server or a proxy answers while the server behind it is away.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


def waits() -> Iterator[float]:
    """Yield the seconds to wait before each further try: HEALTHRISK_RETRY_SECONDS in all, the first at once."""
    left, wait = settings().retry_seconds, 0.0
    while left > 0:
        yield min(wait, left)
        left -= wait
        wait = min(2 * wait, _LONGEST) or _FIRST


def http_retries() -> Retry:
    """Return the same for a client on urllib3; what it sends again are calls that can be repeated."""
    return Retry(
        total=sum(1 for _ in waits()),
        backoff_factor=_FIRST / 2,
        backoff_max=_LONGEST,
        status_forcelist=TRANSIENT,
        allowed_methods=frozenset({*(Retry.DEFAULT_ALLOWED_METHODS), "PATCH"}),
        raise_on_status=False,
    )
