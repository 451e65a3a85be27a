"""gRPC messages as bytes: whether protobuf may make objects of them within the memory and the time there are.

Of a message of few parts protobuf makes at most 16 bytes from each: empty texts, or whole numbers of one byte as INT64.
Empty tensors (`2a 00` again and again) become 40 bytes each byte, and a tensor's parameters take half a microsecond
each, so that the parts of a large message and of its tensors are counted, as far as they may go.
tests/serving/test_wire.py measures the forms that cost most.
"""

from collections.abc import Iterator

from healthrisk.serving.errors import bad_request, too_large

_SMALL_BYTES = 2**18
_FACTOR = 16
_PART_FACTOR = 40
MOST_PARTS = 1024
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# The tags of inputs and of wanted outputs.
_TENSORS = frozenset({5 << 3 | _BYTES, 6 << 3 | _BYTES})


def check(message: bytes, max_parsed_bytes: int) -> None:
    """Make sure that parsing a message takes no more memory than is allowed.

    Raises:
        RequestError: it may take more, or it is no message.
    """
    if len(message) <= min(_SMALL_BYTES, max_parsed_bytes // _PART_FACTOR):
        return
    if len(message) * _FACTOR > max_parsed_bytes:
        raise too_large(f"the message has {len(message)} bytes, at most {max_parsed_bytes // _FACTOR} are allowed")
    for tag, start, end in _fields(message, 0, len(message)):
        if tag in _TENSORS:
            for _ in _fields(message, start, end):
                pass


def _fields(message: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tag of each field between two positions, and where what it holds begins and ends.

    Raises:
        RequestError: there are more than may be, or the last ends elsewhere.
    """
    parts = 0
    while position < end:
        parts += 1
        if parts > MOST_PARTS:
            raise too_large(f"the message or one of its tensors has more than {MOST_PARTS} parts")
        tag, start = _varint(message, position)
        start, position = _content(message, tag, start)
        yield tag, start, position
    if position > end:
        raise bad_request("undecodable", "the message is cut off")


def _content(message: bytes, tag: int, position: int) -> tuple[int, int]:
    """Return where the content of a field begins and ends whose tag ends at a position."""
    kind = tag & 7
    if kind == _VARINT:
        return position, _varint(message, position)[1]
    if kind == _BYTES:
        length, position = _varint(message, position)
        return position, position + length
    if kind in {_FIXED32, _FIXED64}:
        return position, position + (4 if kind == _FIXED32 else 8)
    raise bad_request("undecodable", "the message has a field of a kind that no request has")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the whole number at a position, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise bad_request("undecodable", "the message has a number without an end")
