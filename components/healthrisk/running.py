"""How a step runs: plain log lines, and one line for whatever went wrong."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from healthrisk.errors import HealthriskError

ERROR_PREFIX = "healthrisk error: "


@contextmanager
def step() -> Iterator[logging.Logger]:
    """Log to standard output; end the process with one line and exit code 1 if the library raises its own error.

    Any other exception is a defect of ours and keeps its traceback.
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
        print(f"{ERROR_PREFIX}{' '.join(str(error).split())}", flush=True)  # noqa: T201 - the caller reads this line
        raise SystemExit(1) from error
    finally:
        log.removeHandler(handler)
