"""How long tests wait: long enough for a machine with twenty times the work that it has cores for.

These limits end what hangs. No test measures time: tests/benchmarks does, against a peer in the same run.
"""

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

# A command, the whole pipeline's included, which takes half a minute on a quiet machine.
PROCESS = 3600.0
# An answer to a request, the start of a server, the end of a process that was told to.
ANSWER = 600.0
T = TypeVar("T")


def run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed, whatever its exit code; `options` are subprocess.run's."""
    words = [str(word) for word in command]
    given = {"capture_output": True, "text": True, "timeout": PROCESS} | options
    done: subprocess.CompletedProcess[str] = subprocess.run(words, check=False, **given)
    return done


def until(what: Callable[[], T], says: Callable[[], object] = str, seconds: float = ANSWER) -> T:
    """Return the first true value of `what`, asked again and again.

    Raises:
        TimeoutError: none came; the error quotes `says`.
    """
    deadline = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} gave {value!r} for {seconds:g} s {says()}")
        time.sleep(0.05)
    return value
