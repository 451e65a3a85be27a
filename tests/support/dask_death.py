"""Loaded by a worker of Dask's as it starts: it kills itself when it begins the task of a number that it is given."""

import os
import signal

from distributed import Worker, WorkerPlugin

FATAL_TASK = int(os.environ["TESTS_FATAL_TASK"])


class Death(WorkerPlugin):
    begun = 0

    def transition(self, key: object, start: str, finish: str, **_: object) -> None:
        self.begun += finish == "executing"
        if 0 < FATAL_TASK <= self.begun:
            os.kill(os.getpid(), signal.SIGKILL)


async def dask_setup(worker: Worker) -> None:
    """Be called by Dask."""
    await worker.plugin_add(Death())
