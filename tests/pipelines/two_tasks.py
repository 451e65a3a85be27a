"""Run a pipeline of two tasks, neither of which waits for the other's output, by the local runner.

PYTHONPATH=pipelines python FILE FIRST SECOND FOLDER: `end`, `fail` or `sleep` is what each does after both have met;
with `interrupt` as FIRST the run is interrupted at the moment in which its first step has been told to begin.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Any

from healthrisk.processes import command
from healthrisk.steps import forked


def compiled() -> Any:
    """Return the compiled pipeline; forked processes import this file, too, and have no compiler."""
    from kfp import dsl

    from healthrisk.steps.component import component

    @component
    def meet(folder: str, mine: str, other: str, then: str) -> None:
        """Write a file, wait for the other task's, and then end, fail, or sleep."""
        import os
        import sys
        import time
        from pathlib import Path

        (Path(folder) / mine).write_text(str(os.getpid()))
        while not (Path(folder) / other).exists():
            time.sleep(0.02)
        if then == "sleep":
            time.sleep(3600)
        sys.exit(then == "fail")

    @dsl.pipeline(name="two")
    def two(folder: str, first: str, second: str) -> None:
        meet(folder=folder, mine="first", other="second", then=first).set_display_name("first")
        meet(folder=folder, mine="second", other="first", then=second).set_display_name("second")

    return two.pipeline_spec


class Interrupting(forked.StepProcess):
    """A step after whose beginning Ctrl-C is pressed."""

    def begin(self, arguments: list[str]) -> None:
        # One that still imports would find nobody at the other end, and end by itself.
        while self.is_importing():
            time.sleep(0.02)
        super().begin(arguments)
        signal.raise_signal(signal.SIGINT)


def main() -> int:
    """Run both; say which task failed."""
    import local_runner
    from tasks import Run

    first, second, folder = sys.argv[1:]
    if first == "interrupt":
        local_runner.StepProcess = Interrupting  # type: ignore[misc]
    forked.start_server(["kfp.dsl.executor_main"])
    parameters = {"folder": folder, "first": first, "second": second}
    try:
        local_runner.Processes(Run(compiled(), parameters, Path(folder) / "run"), Path(folder)).run_all()
    except local_runner.StepError as error:
        (task,) = error.args
        print(f"{task.title} failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
