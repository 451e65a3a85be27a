"""Run the pipeline in processes on this machine: progress for a person, a log for the curious, one line a failure."""

import io
import re
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

from kfp import local

from healthrisk.config import settings
from healthrisk.errors import HealthriskError
from healthrisk.running import ERROR_PREFIX
from pipeline import training

_EXECUTING = re.compile(r"Executing task .*?'([\w-]+)'")
_FINISHED = re.compile(r"Task .*?'([\w-]+)'.*? finished with status .*?(SUCCESS|FAILURE)")
STEPS = 8


class PipelineError(HealthriskError):
    """A step failed; the message says which one, and why."""


class Progress(io.TextIOBase):
    """A stream for the runner's output: everything goes to the log, what matters goes to the terminal."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self.cause = ""
        self.step = ""
        self._log, self._terminal = log, terminal
        self._line, self._count, self._began = "", 0, 0.0

    def write(self, text: str) -> int:
        """Take a piece of output; whole lines are looked at."""
        self._log.write(text)
        self._log.flush()
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._look(line)
        return len(text)

    def _look(self, line: str) -> None:
        if found := _EXECUTING.search(line):
            self.step, self._began, self._count = found[1], time.monotonic(), self._count + 1
            self._say(f"[{self._count}/{STEPS}] {self.step}")
        elif found := _FINISHED.search(line):
            self._say(
                f"      {'done' if found[2] == 'SUCCESS' else 'failed'} in {time.monotonic() - self._began:.1f} s"
            )
        elif ERROR_PREFIX in line:
            self.cause = line.split(ERROR_PREFIX, 1)[1]
        elif "healthrisk: " in line:
            self._say("      " + line.split("healthrisk: ", 1)[1])

    def _say(self, text: str) -> None:
        print(text, file=self._terminal, flush=True)


def run(spec: str, data: str, seed: int) -> Path:
    """Run the pipeline and return the folder that holds its artifacts, a sub-folder a task.

    Raises:
        PipelineError: a step failed.
    """
    root = settings().home / "runs"
    root.mkdir(parents=True, exist_ok=True)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    log = root / time.strftime("%Y%m%d-%H%M%S.log")
    before = set(root.iterdir())
    with log.open("w") as written:
        progress = Progress(written, sys.stdout)
        try:
            with redirect_stdout(progress):
                training(spec=spec, data=data, seed=seed)
        except RuntimeError as error:
            cause = progress.cause or f"{error}; see {log}"
            raise PipelineError(f"step {progress.step or 'none'} failed: {cause}") from error
    (folder,) = (path for path in set(root.iterdir()) - before if path.is_dir())
    return folder
