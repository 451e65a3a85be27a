"""Bodies in gzip or deflate, as Triton's clients and proxies send and want them."""

import asyncio
import zlib

from healthrisk.serving.errors import bad_request, too_large

# By the name in Content-Encoding: zlib's window, with the head of a gzip file or without.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
ENCODINGS = frozenset(_WINDOWS)
# Of what packing saves below this, the headers alone take a part.
_LEAST_BYTES = 1024
# Of what takes longer than a request of one row, the event loop is spared.
_ASIDE_BYTES = 2**16


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what was packed. No more than `limit` bytes are ever unpacked, however much is promised.

    Raises:
        RequestError: it is more than `limit` bytes, is not of that encoding, or ends early or late.
    """
    reader = zlib.decompressobj(_WINDOWS[encoding])
    try:
        unpacked = reader.decompress(body, limit + 1)
    except zlib.error:
        raise bad_request("protocol", f"the body is not valid {encoding}") from None
    if len(unpacked) > limit:
        raise too_large(f"the unpacked body has more than {limit} bytes")
    if not reader.eof or reader.unused_data:
        raise bad_request("protocol", f"the body is not one whole {encoding} stream")
    return unpacked


def choose(accepted: bytes, size: int) -> str:
    """Return how an answer of so many bytes goes to a client with this Accept-Encoding; empty for as it is."""
    if size < _LEAST_BYTES:
        return ""
    wanted = set()
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";")
        if weight.rstrip("0.") != "q=":
            wanted.add(name)
    return next((name for name in _WINDOWS if name in wanted), "")


async def pack(body: bytes, encoding: str) -> bytes:
    """Return an answer packed: quickly rather than small."""

    def work() -> bytes:
        writer = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=_WINDOWS[encoding])
        return writer.compress(body) + writer.flush()

    return work() if len(body) < _ASIDE_BYTES else await asyncio.to_thread(work)
