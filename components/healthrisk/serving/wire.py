"""gRPC messages as bytes: whether protobuf may make objects of them within the memory there is.

Of a message of few parts protobuf makes at most 16 bytes from each: empty texts, or whole numbers of one byte as INT64.
Empty tensors (`2a 00` again and again) become 40 bytes each byte, so that the parts of a message for which this is too
much are counted, as far as they may go. tests/serving/test_wire.py measures the forms that cost most.
"""

from healthrisk.serving.errors import bad_request, too_large

_FACTOR = 16
_PART_FACTOR = 40
MOST_PARTS = 1024
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check(message: bytes, max_parsed_bytes: int) -> None:
    """Make sure that parsing a message takes no more memory than is allowed.

    Raises:
        RequestError: it may take more, or it is no message.
    """
    if len(message) * _PART_FACTOR <= max_parsed_bytes:
        return
    if len(message) * _FACTOR > max_parsed_bytes:
        raise too_large(f"the message has {len(message)} bytes, at most {max_parsed_bytes // _FACTOR} are allowed")
    position = parts = 0
    while position < len(message):
        parts += 1
        if parts > MOST_PARTS:
            raise too_large(f"the message has more than {MOST_PARTS} parts")
        position = _after_field(message, position)
    if position > len(message):
        raise bad_request("undecodable", "the message is cut off")


def _after_field(message: bytes, position: int) -> int:
    """Return where the field that begins at a position ends."""
    tag, position = _varint(message, position)
    kind = tag & 7
    if kind == _VARINT:
        return _varint(message, position)[1]
    if kind == _BYTES:
        length, position = _varint(message, position)
        return position + length
    if kind in {_FIXED32, _FIXED64}:
        return position + (4 if kind == _FIXED32 else 8)
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
