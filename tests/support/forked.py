"""Processes forked from one that has imported what they import, which takes every one of them seconds.

What runs is the server's own script, from its first line, with its own arguments, environment and output. What a test
says of a start itself, of imports or of memory as a whole, a process started from nothing has to show.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.support.patience import PROCESS

_ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 2**17


class ForkedProcess:
    """A process of a command: a child of the one it was forked from, with what this one needs of `subprocess.Popen`."""

    def __init__(self, pid: int, ended: IO[bytes]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        return self._exit_code(0)

    def wait(self, seconds: float) -> int:
        code = self._exit_code(seconds)
        if code is None:
            raise subprocess.TimeoutExpired([str(self.pid)], seconds)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _exit_code(self, seconds: float) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            if poll.poll(seconds * 1000):
                with self._ended:
                    self.returncode = int(self._ended.read())
        return self.returncode


def fork(
    command: Sequence[str],
    output: IO[Any],
    environment: Mapping[str, str],
    imported: tuple[str, ...],
    errors: IO[Any] | None = None,
    folder: Path | None = None,
) -> ForkedProcess:
    """Run a command of Python as `subprocess.Popen` would, but with modules imported.

    What it prints goes to a file; errors, too, if they have no file of their own.
    """
    requests = _server(imported)
    read, write = os.pipe()
    said = {"arguments": list(command[1:]), "environment": dict(environment), "folder": str(folder or Path.cwd())}
    socket.send_fds(requests, [json.dumps(said).encode()], [write, output.fileno(), (errors or output).fileno()])
    os.close(write)
    return ForkedProcess(int(requests.recv(_MOST_BYTES)), os.fdopen(read, "rb"))


def run(
    command: Sequence[object], imported: tuple[str, ...], cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run such a command to its end and return what it printed, as `patience.run` does."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        code = fork(words, output, env, imported, errors, cwd).wait(PROCESS)
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), errors.read())


@cache
def _server(imported: tuple[str, ...]) -> socket.socket:
    """Start a process that imports modules and forks others, as long as this one lives; return what takes requests."""
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), *imported]
        process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()])

    def end() -> None:
        requests.close()
        process.wait()

    atexit.register(end)
    return requests


def _serve(requests: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each request, and say how each fork ended.

    In a fork, return its request, and where its output and its errors go; else None, after the last.
    """
    with requests, selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fileobj)
                    _report_end(key.fd, *key.data)
                    continue
                message, (*descriptors,), _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
                if not message:
                    return None
                ended, *streams = descriptors
                pid = os.fork()
                if not pid:
                    return json.loads(message), streams
                for stream in streams:
                    os.close(stream)
                requests.send(str(pid).encode())
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, ended))


def _report_end(watched: int, pid: int, ended: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(ended, str(code).encode())
    os.close(ended)
    os.close(watched)


def _become(arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> None:
    """Run a script, or a module named by -m, as the interpreter does that starts with these arguments."""
    for place, stream in enumerate(streams, 1):
        os.dup2(stream, place)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    for module in sys.argv[2:]:
        importlib.import_module(module)
    if task := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(**task[0], streams=task[1])
