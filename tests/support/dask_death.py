"""Loaded by a worker of Dask's as it starts: it kills itself at the task or the object of a number that it is given.

That is as it begins the task, or as it is about to put the object into a bucket.
"""

import os
import signal
from typing import Any

from distributed import Worker, WorkerPlugin
from minio import Minio

FATAL_TASK, FATAL_PUT = (int(os.environ[f"TESTS_FATAL_{what}"]) for what in ("TASK", "PUT"))


class Countdown:
    """Kills this process when it is called for the time of a number; never where that is 0."""

    def __init__(self, fatal: int) -> None:
        self._left = fatal

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Death(WorkerPlugin):
    begin = Countdown(FATAL_TASK)

    def transition(self, key: object, start: str, finish: str, **_: object) -> None:
        if finish == "executing":
            self.begin()


async def dask_setup(worker: Worker) -> None:
    """Be called by Dask."""
    await worker.plugin_add(Death())
    before, put = Countdown(FATAL_PUT), Minio.fput_object

    def dying(*arguments: Any, **named: Any) -> Any:
        before()
        return put(*arguments, **named)

    Minio.fput_object = dying
