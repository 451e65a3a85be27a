"""TCP ports of this machine, looked at before anything is started that needs them."""

import os
import socket

from healthrisk.errors import ConfigError


def require_free(host: str, first: int, count: int = 1) -> None:
    """Make sure that so many ports from `first` on can be listened on.

    Raises:
        ConfigError: a number is no port's, or something listens there already.
    """
    for port in range(first, first + count):
        if not 0 < port < 2**16:
            raise ConfigError(f"port {port}: expected a number from 1 to {2**16 - 1}")
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            # The error's own text repeats the address; one without a number is of the host's name.
            reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise ConfigError(f"port {port} of {host} cannot be listened on: {reason}") from error
