"""Run the pipeline in processes on this machine: progress for a person, a log for the curious, one line a failure."""

import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from kfp import local

from healthrisk.atomic import scratch_folder, write_text
from healthrisk.config import settings
from healthrisk.errors import HealthriskError
from healthrisk.steps.events import Event, Reader
from pipeline import training
from retention import forget_rows

_POLL_SECONDS = 0.1


class PipelineError(HealthriskError):
    """A step failed; the message says which one, and why."""


class Progress:
    """Shows a person what the steps report."""

    def __init__(self, events: Path, terminal: TextIO) -> None:
        self._reader, self._terminal = Reader(events), terminal
        self._steps, self._count = len(training.pipeline_spec.root.dag.tasks), 0
        self._began = time.monotonic()
        self.last: Event | None = None

    def show(self) -> None:
        """Print what was reported since the last call."""
        for event in self._reader.read():
            self.last = event
            if event.kind == "began":
                self._count += 1
                self._say(f"[{self._count}/{self._steps}] {event.step}")
            elif event.kind == "said":
                self._say(f"      {event.text}")
            else:
                self._say(f"      {'done' if event.kind == 'ended' else 'failed'} in {self._seconds():.1f} s")

    def _seconds(self) -> float:
        """Return the time since the step before ended: what it takes to start a process counts, too."""
        before, self._began = self._began, time.monotonic()
        return self._began - before

    def _say(self, text: str) -> None:
        print(text, file=self._terminal, flush=True)


def run(spec: str, data: str, seed: int, level: str) -> Path:
    """Run the pipeline and return the folder that holds its artifacts, a sub-folder a task.

    A run that fails leaves nothing but the report of a refused model or, where the cause is unknown, its log; the files
    of one that was killed are removed by the next, as are the tables of runs that are older than HEALTHRISK_KEEP_DAYS.

    Raises:
        PipelineError: a step failed.
    """
    runs = settings().home / "runs"
    forget_rows(runs, settings().keep_days)
    with scratch_folder(runs) as scratch:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(scratch), raise_on_error=True)
        log, events = scratch / "log", scratch / "events.jsonl"
        events.touch()
        # The steps' processes inherit it.
        os.environ["HEALTHRISK_EVENTS"] = str(events)
        progress = Progress(events, sys.stdout)
        with log.open("w") as written:
            try:
                with _watched(progress), redirect_stdout(written), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=r"Task .*: settings \['display_name'\] have no effect")
                    training(spec=spec, data=data, seed=seed, level=level)
            except RuntimeError as error:
                said = _explain(progress.last, log, runs) + _kept_report(scratch)
                raise PipelineError(said) from error
        (made,) = (path for path in scratch.iterdir() if path.is_dir())
        log.replace(made / "log")
        return made.replace(runs / made.name)


@contextmanager
def _watched(progress: Progress) -> Iterator[None]:
    """Show progress while the steps run, and the rest of it when they have ended."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            progress.show()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        progress.show()


def _kept_report(scratch: Path) -> str:
    """Keep the report of a run that failed after it was written: of a model that was refused; say where it is."""
    pages = list(scratch.glob("*/evidence/page"))
    if not pages:
        return ""
    kept = settings().home / "reports" / f"refused-{time.strftime('%Y%m%d-%H%M%S')}.html"
    write_text(kept, pages[0].read_text("utf-8"))
    return f"; its report is {kept}"


def _explain(last: Event | None, log: Path, runs: Path) -> str:
    """Say which step failed and why, by the last thing it reported; keep the log where that is not enough."""
    if last is not None and last.kind == "failed":
        return f"step '{last.step}' failed: {last.text}"
    saved = log.replace(runs / f"failed-{time.strftime('%Y%m%d-%H%M%S')}.log")
    if last is None or last.kind == "ended":
        return f"a step's process could not be started; see {saved}"
    cause = last.text if last.kind == "crashed" else "its process ended"
    return f"step '{last.step}' failed: {cause}; see {saved}"
