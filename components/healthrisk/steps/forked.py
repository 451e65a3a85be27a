"""Processes forked from one that has imported what several steps need, so that no step pays for it again.

A step is as isolated as in a process of its own making: it is forked from a server that only imports (the standard
library's `multiprocessing.forkserver`), runs one component's source by KFP's own executor, and ends.
"""

import ast
import contextlib
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver, get_context, resource_tracker, set_start_method
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# What more than one step imports; what only one needs, such as MLflow, that one imports itself.
SHARED = (
    "kfp.dsl.executor_main",
    "healthrisk.steps.artifacts",
    "healthrisk.steps.context",
    "healthrisk.steps.forked",
    "healthrisk.reports.table_report",
    "healthrisk.training.evaluate",
    "healthrisk.training.train",
)


def start_server(modules: Sequence[str] = SHARED) -> None:
    """Start the server, if it does not run; it goes on importing the modules when this returns.

    Ctrl-C, which reaches every process of a terminal, is blocked in the server and in what it forks: who started them
    ends them.
    """
    _context().set_forkserver_preload(list(modules))
    # The server would start it, and that ends by unblocking the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # By this KFP knows a step's process, which needs neither its compiler nor its clients.
    os.environ["_KFP_RUNTIME"] = "true"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["_KFP_RUNTIME"]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StepProcess:
    """A component in a process of its own, which imports what the component's body imports and waits for its inputs.

    What it prints goes to the file `log`, what it reports to the file `events`.
    """

    def __init__(self, source: str, events: Path, log: Path) -> None:
        context = _context()
        self._pipe, others = context.Pipe()
        self.process = context.Process(target=_run_component, args=(source, others, events, log))
        self.process.start()
        others.close()

    def is_importing(self) -> bool:
        """Say whether it still imports, and so takes a core."""
        # What it sends stays in the pipe; one that is gone can be read, too.
        return not self._pipe.poll()

    def begin(self, arguments: list[str]) -> None:
        """Let it run, given its executor's arguments."""
        # A process that is gone has an exit code.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(arguments)


def call(function: Callable[..., T], *arguments: object) -> T:
    """Return what a function returns in a process of its own, or raise what it raises."""
    with ProcessPoolExecutor(1, _context()) as pool:
        return pool.submit(function, *arguments).result()


def _context() -> ForkServerContext:
    return get_context("forkserver")


def _run_component(source: str, pipe: Connection, events: Path, log: Path) -> None:
    """Do what a component's command does: write its source to a file and call KFP's executor with it."""
    from kfp.dsl.executor_main import executor_main

    # A step starts processes as one in a pod does; what forked this one has told it to start them the same way.
    set_start_method(None, force=True)
    os.environ["HEALTHRISK_EVENTS"] = str(events)
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    _import_early(source)
    try:
        pipe.send("ready")
        arguments = pipe.recv()
    except (EOFError, BrokenPipeError):
        # Whoever started this process is gone.
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ephemeral_component.py"
        path.write_text(source, "utf-8")
        sys.argv = ["executor_main", "--component_module_path", str(path), *arguments]
        executor_main()


def _import_early(source: str) -> None:
    """Import what a source imports, its functions included, and call each module's `prepare_step`, if it has one.

    That does what a step takes and no input changes. What fails here fails again when the source runs.
    """
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        for name in names:
            with contextlib.suppress(Exception):
                module = importlib.import_module(name)
                if prepare := getattr(module, "prepare_step", None):
                    prepare()
