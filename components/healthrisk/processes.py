"""How a command runs: one line for whatever went wrong, and ports that can be listened on."""

import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from healthrisk.config import settings
from healthrisk.errors import ConfigError, HealthriskError


def command(job: Callable[[], int]) -> int:
    """Run what a person called and return the exit code; what goes wrong is one line on standard error.

    A file or folder that cannot be written is the person's to fix, so the machine's own words will do.
    """
    try:
        return job()
    except (HealthriskError, OSError) as error:
        sys.stderr.write(f"error: {full_disk(error) or error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def full_disk(error: Exception) -> str:
    """Say which folders have no space left, where that is the error; it seldom names the file itself."""
    if not isinstance(error, OSError) or error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return ""
    said = []
    for folder in (settings().home, Path(tempfile.gettempdir())):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        said.append(f"{folder} has {shutil.disk_usage(there).free / 2**20:,.0f} MiB free")
    return f"no space left on the device: {', '.join(said)}"


def require_free_ports(host: str, first: int, count: int = 1) -> None:
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
