"""Run the pipeline in processes on this machine: progress for a person, a log for the curious, one line a failure."""

import sys
import time
from datetime import datetime
from multiprocessing import active_children, connection
from pathlib import Path
from typing import Any

from healthrisk.atomic import scratch_folder, write_text
from healthrisk.config import settings
from healthrisk.errors import HealthriskError
from healthrisk.records import actions
from healthrisk.steps import forked
from healthrisk.steps.events import Event
from healthrisk.steps.forked import StepProcess
from progress import Progress
from retention import forget_rows
from tasks import Run, Task

_POLL_SECONDS = 0.1
# Steps run side by side while what they read is small: so much is some 50,000 rows of 40 columns, below which a fit has
# one thread. One that trains on a larger table uses all cores itself, and two of them might not fit into memory.
_SMALL_BYTES = 2**24


class PipelineError(HealthriskError):
    """A step failed; the message says which one, and why."""


class StepError(Exception):
    """A step's process ended with an exit code other than 0; its argument is the task."""


def run(spec: str, data: str, seed: int, level: str, rollout: str = "", override_gate: str = "") -> Path:
    """Run the pipeline and return the folder that holds its artifacts, a sub-folder a task.

    A run that fails leaves nothing but the report of a refused model or, where the cause is unknown, its log; the files
    of one that was killed are removed by the next, as are the tables of runs that are older than HEALTHRISK_KEEP_DAYS.

    Raises:
        PipelineError: a step failed.
    """
    runs = settings().home / "runs"
    if forgotten := forget_rows(runs, settings().keep_days):
        actions.tell("deleted", reason=f"{forgotten} tables of runs older than {settings().keep_days:g} days")
    with scratch_folder(runs) as scratch:
        forked.start_server()
        # KFP's compiler is imported here, while the server of processes imports its own.
        from pipeline import define

        # Nothing is deployed here.
        compiled = define(lambda *_: None).pipeline_spec
        made = scratch / f"{compiled.pipeline_info.name}-{datetime.now():%Y-%m-%d-%H-%M-%S-%f}"
        given: dict[str, str | int] = {"spec": spec, "data": data, "seed": seed, "level": level, "rollout": rollout}
        begun = Run(compiled, {**given, "override_gate": override_gate, "override_by": ""}, made)
        running = Processes(begun, scratch)
        try:
            running.run_all()
        except StepError as error:
            (task,) = error.args
            raise PipelineError(_explain(task, running, runs) + _kept_report(made)) from error
        (made / "log").write_text(running.log(), "utf-8")
        return made.replace(runs / made.name)


class Processes:
    """The processes of a run, each step's started as soon as its producers have ended and a core is free."""

    def __init__(self, begun: Run, folder: Path) -> None:
        self._run, self._folder = begun, folder
        self._events = folder / "events.jsonl"
        self._events.touch()
        self._waiting = list(begun.tasks)
        self._started: list[Task] = []
        self._ended: set[str] = set()
        self._prepared: dict[str, StepProcess] = {}
        self._running: dict[Any, tuple[Task, StepProcess]] = {}
        self._progress = Progress(self._events, len(begun.tasks), sys.stdout)

    def run_all(self) -> None:
        """Run every task.

        Raises:
            StepError: one failed; those that ran beside it were ended.
        """
        try:
            while self._waiting or self._running:
                while task := self._next():
                    self._start(task)
                self._prepare()
                over = connection.wait(list(self._running), _POLL_SECONDS)
                self._progress.show()
                for sentinel in over:
                    self._end(sentinel)
        finally:
            # One that Ctrl-C finds just started stands in none of the lists here.
            left = active_children()
            for process in left:
                process.terminate()
            for process in left:
                process.join()

    def last_event(self, task: Task) -> Event | None:
        """Return what a task reported last."""
        return self._progress.last.get(task.title)

    def log(self) -> str:
        """Return what all started steps printed, one after the other."""
        return "".join(f"--- {task.title} ---\n{self._log(task).read_text('utf-8')}\n" for task in self._started)

    def _next(self) -> Task | None:
        """Return a task that may start now."""
        ready = (task for task in self._waiting if task.producers <= self._ended)
        if not self._running:
            return next(ready)
        running = [task for task, _ in self._running.values()]
        if not self._free_cores() or not all(map(self._is_small, running)):
            return None
        return next(filter(self._is_small, ready), None)

    def _prepare(self) -> None:
        """Let the steps to come import what they need: as many as cores are free, and one in any case.

        What is not imported by then is waited for later, when steps run one after the other. Not before the first step
        has ended: most runs that fail do so there.
        """
        for task in self._waiting if self._ended else ():
            importing = sum(step.is_importing() for step in self._prepared.values())
            if task.name not in self._prepared and importing < max(1, self._free_cores()):
                self._prepared[task.name] = self._process(task)

    def _free_cores(self) -> int:
        # Not before the server of processes has begun to import.
        import joblib

        cores: int = joblib.cpu_count()
        return max(0, cores - len(self._running))

    def _is_small(self, task: Task) -> bool:
        return self._run.input_bytes(task) < _SMALL_BYTES

    def _start(self, task: Task) -> None:
        self._waiting.remove(task)
        self._started.append(task)
        self._log(task).touch()
        self._progress.start(task.title)
        step = self._prepared.pop(task.name, None) or self._process(task)
        step.begin(self._run.arguments(task))
        self._running[step.process.sentinel] = task, step

    def _process(self, task: Task) -> StepProcess:
        return StepProcess(task.source, self._events, self._log(task))

    def _end(self, sentinel: Any) -> None:
        task, step = self._running.pop(sentinel)
        step.process.join()
        if step.process.exitcode:
            raise StepError(task)
        self._ended.add(task.name)

    def _log(self, task: Task) -> Path:
        return self._folder / f"{task.name}.log"


def _kept_report(made: Path) -> str:
    """Keep the report of a run that failed after it was written: of a model that was refused; say where it is."""
    page = made / "evidence" / "page"
    if not page.exists():
        return ""
    kept = settings().home / "reports" / f"refused-{time.strftime('%Y%m%d-%H%M%S')}.html"
    write_text(kept, page.read_text("utf-8"))
    return f"; its report is {kept}"


def _explain(task: Task, running: Processes, runs: Path) -> str:
    """Say which step failed and why, by the last thing it reported; keep the log where that is not enough."""
    last = running.last_event(task)
    if last is not None and last.kind == "failed":
        return f"step '{task.title}' failed: {last.text}"
    saved = runs / f"failed-{time.strftime('%Y%m%d-%H%M%S')}.log"
    write_text(saved, running.log())
    cause = last.text if last is not None and last.kind == "crashed" else "its process ended"
    return f"step '{task.title}' failed: {cause}; see {saved}"
