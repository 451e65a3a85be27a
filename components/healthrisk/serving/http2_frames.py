"""The frames of an HTTP/2 connection, by the nine bytes before each (RFC 9113, sections 3.4 and 4.1)."""

from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, CONTINUATION = 0, 1, 3, 9
END_STREAM, END_HEADERS = 1, 4
_HEAD_BYTES = 9


@dataclass(slots=True)
class Frame:
    """What stands before a frame's payload of `length` bytes."""

    length: int
    kind: int
    flags: int
    stream: int


class FrameReader:
    """Finds the frames in one direction of a connection, after `skip` bytes that are none."""

    def __init__(self, skip: int = 0) -> None:
        self._skip = skip
        self._head = b""
        self.count = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that begin in a piece of the connection's bytes."""
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            taken = data[position : position + _HEAD_BYTES - len(self._head)]
            position += len(taken)
            self._head += taken
            if len(self._head) < _HEAD_BYTES:
                return
            head, self._head = self._head, b""
            self._skip = int.from_bytes(head[:3], "big")
            self.count += 1
            yield Frame(self._skip, head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF)
