"""Run the pipeline in processes on this machine: progress for a person, a log for the curious, one line a failure."""

import io
import re
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

from kfp import local

from healthrisk.atomic import scratch_folder
from healthrisk.config import settings
from healthrisk.errors import HealthriskError
from healthrisk.processes import DEFECT_PREFIX, ERROR_PREFIX
from pipeline import training

_EXECUTING = re.compile(r"Executing task .*?'([\w-]+)'")
_FINISHED = re.compile(r"Task .*?'([\w-]+)'.*? finished with status .*?(SUCCESS|FAILURE)")
# What each task is called in the KFP pages, too.
TITLES = {name: task.task_info.name for name, task in training.pipeline_spec.root.dag.tasks.items()}


class PipelineError(HealthriskError):
    """A step failed; the message says which one, and why."""


class Progress(io.TextIOBase):
    """A stream for the runner's output: everything goes to the log, what matters goes to the terminal."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self.cause, self.defect = "", "its process ended"
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
            self.step, self._began, self._count = TITLES[found[1]], time.monotonic(), self._count + 1
            self._say(f"[{self._count}/{len(TITLES)}] {self.step}")
        elif found := _FINISHED.search(line):
            self._say(
                f"      {'done' if found[2] == 'SUCCESS' else 'failed'} in {time.monotonic() - self._began:.1f} s"
            )
        elif ERROR_PREFIX in line:
            self.cause = line.split(ERROR_PREFIX, 1)[1]
        elif DEFECT_PREFIX in line:
            self.defect = line.split(DEFECT_PREFIX, 1)[1]
        elif "healthrisk: " in line:
            self._say("      " + line.split("healthrisk: ", 1)[1])

    def _say(self, text: str) -> None:
        print(text, file=self._terminal, flush=True)


def run(spec: str, data: str, seed: int, level: str) -> Path:
    """Run the pipeline and return the folder that holds its artifacts, a sub-folder a task.

    A run that fails leaves nothing but, where the cause is unknown, its log; the files of one that was killed are
    removed by the next.

    Raises:
        PipelineError: a step failed.
    """
    runs = settings().home / "runs"
    with scratch_folder(runs) as scratch:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(scratch), raise_on_error=True)
        log = scratch / "log"
        with log.open("w") as written:
            progress = Progress(written, sys.stdout)
            try:
                with redirect_stdout(progress), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=r"Task .*: settings \['display_name'\] have no effect")
                    training(spec=spec, data=data, seed=seed, level=level)
            except RuntimeError as error:
                cause = progress.cause or f"{progress.defect}; see {_keep(log, runs)}"
                raise PipelineError(f"step '{progress.step}' failed: {cause}") from error
        (made,) = (path for path in scratch.iterdir() if path.is_dir())
        log.replace(made / "log")
        return made.replace(runs / made.name)


def _keep(log: Path, runs: Path) -> Path:
    return log.replace(runs / f"failed-{time.strftime('%Y%m%d-%H%M%S')}.log")
