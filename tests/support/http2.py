"""HTTP/2 as a client that means harm speaks it: frames by hand, calls begun and not ended."""

import contextlib
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW = 2**16 - 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def fields(headers: dict[str, str]) -> bytes:
    """Encode headers without tables and without Huffman's code."""

    def text(value: str) -> bytes:
        assert len(value) < 127
        return bytes([len(value)]) + value.encode()

    return b"".join(b"\x00" + text(name) + text(value) for name, value in headers.items())


def call(stream: int, path: str) -> bytes:
    """Return the frame that begins a call of gRPC."""
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers"}
    return frame(HEADERS, END_HEADERS, stream, fields(headers | {"content-type": "application/grpc"}))


class Client:
    """One connection. It sends no more than the server's windows allow, so that only what it sends can be refused."""

    def __init__(self, port: int, timeout: float, source: tuple[str, int] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=source)
        self._window = WINDOW
        self._unread = b""
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_part_of_message(self, stream: int, announced: int, sent: int) -> int:
        """Send so many bytes of a message that is said to be longer; return how many the server took."""
        body = struct.pack(">BI", 0, announced) + bytes(sent)
        position = 0
        while position < len(body):
            if not self._window and not self.read():
                break
            piece = body[position : position + min(self._window, 2**14)]
            if piece:
                self.send(frame(DATA, 0, stream, piece))
                self._window -= len(piece)
                position += len(piece)
        return position

    def read(self) -> bool:
        """Take what the server sends; say whether the connection is still there."""
        with contextlib.suppress(OSError):
            data = self.socket.recv(65536)
            self._take(data)
            return bool(data)
        return False

    def _take(self, data: bytes) -> None:
        """Count windows, and acknowledge what a server waits for before it ends a connection."""
        self._unread += data
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3], "big")):
            kind, flags, stream = self._unread[3], self._unread[4], int.from_bytes(self._unread[5:9], "big")
            if kind == WINDOW_UPDATE and not stream:
                self._window += int.from_bytes(self._unread[9:13], "big")
            elif kind in {SETTINGS, PING} and not flags & ACK:
                with contextlib.suppress(ConnectionError):
                    self.send(frame(kind, ACK, 0, self._unread[9:size] if kind == PING else b""))
            self._unread = self._unread[size:]

    def ends(self) -> bool:
        """Read what comes; say whether the server closes the connection before its time is over."""
        try:
            while data := self.socket.recv(65536):
                self._take(data)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def close(self) -> None:
        self.socket.close()
