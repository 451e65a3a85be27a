"""How a step and a command run: plain log lines, and one line for whatever went wrong."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from healthrisk.errors import ConfigError, HealthriskError

ERROR_PREFIX = "healthrisk error: "
# What no rule of ours foresaw: the line names it, and the traceback beside it has the rest.
DEFECT_PREFIX = "healthrisk defect: "


@contextmanager
def step() -> Iterator[logging.Logger]:
    """Log to standard output; end the process with one line and exit code 1 if the library raises its own error.

    Any other exception is a defect, of ours or of the machine, and keeps its traceback.
    """
    log = logging.getLogger("healthrisk")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield log
    except HealthriskError as error:
        _tell(ERROR_PREFIX, str(error))
        raise SystemExit(1) from error
    except Exception as error:
        _tell(DEFECT_PREFIX, f"{type(error).__name__}: {error}")
        raise
    finally:
        log.removeHandler(handler)


def _tell(prefix: str, cause: str) -> None:
    print(f"{prefix}{' '.join(cause.split())}", flush=True)  # noqa: T201 - the caller reads this line


def command(job: Callable[[], int]) -> int:
    """Run what a person called and return the exit code; what goes wrong is one line on standard error.

    A file or folder that cannot be written is the person's to fix, so the machine's own words will do.
    """
    try:
        return job()
    except (HealthriskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


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
