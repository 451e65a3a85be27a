"""Plain connections, as clients hold them that send too little or too slowly."""

import socket
import time

from tests.support.patience import ANSWER


def ends(connection: socket.socket) -> bool:
    """Read what comes; say whether the server closes the connection before its time is over."""
    try:
        while connection.recv(65536):
            continue
    except TimeoutError:
        return False
    return True


def ends_while_sent(connection: socket.socket, part: bytes) -> bool:
    """Send a part again and again; say whether the server closes the connection meanwhile."""
    deadline = time.monotonic() + ANSWER
    while time.monotonic() < deadline:
        try:
            connection.sendall(part)
        except ConnectionError:
            return True
        time.sleep(0.1)
    return False
