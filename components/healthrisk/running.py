"""How a step and a command run: plain log lines, and one line for whatever went wrong."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from healthrisk.errors import HealthriskError

ERROR_PREFIX = "healthrisk error: "
# What no rule of ours foresaw: the line names it, and the traceback beside it tells the rest.
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

    A file or folder that cannot be written is the person's to mend, so the machine's own words will do.
    """
    try:
        return job()
    except (HealthriskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
