"""Structured logs: one JSON object a line, for machines to read. No line holds a value out of a request."""

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any, TypedDict

REQUESTS = logging.getLogger("healthrisk.requests")
_WAITING_LINES = 1000
_FLUSH_SECONDS = 1.0
_FIELDS = ("request_id", "trace_id", "model", "version", "signature", "protocol", "code", "reason", "ms", "dropped")


class LogFields(TypedDict, total=False):
    """What a line about a request holds besides its message: `extra`, in the terms of `logging`."""

    request_id: str
    trace_id: str | None
    model: str
    version: str
    protocol: str
    code: int
    reason: str
    ms: float


class DetachedHandler(logging.Handler):
    """Writes lines to a descriptor on a thread of its own: nobody waits for whoever does not read them.

    Lines for which there is no room are dropped, and counted in the next one that is written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(_WAITING_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record's line."""
        if self._dropped:
            record.dropped = self._dropped
        if not self._thread.ident:
            # Not before there is something to write: a process that is to be forked must have no thread.
            self._thread.start()
        try:
            self._lines.put_nowait(self.format(record))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until all is written, or for a moment."""
        until = time.monotonic() + _FLUSH_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            line = f"{self._lines.get()}\n".encode()
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(self._descriptor, line) :]
            self._lines.task_done()


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is said of a record. Of an exception that is its type and place: its message may quote a value."""
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    line |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
    if record.exc_info and record.exc_info[0]:
        line["exception"] = record.exc_info[0].__name__
        line["stack"] = [f"{at.filename}:{at.lineno}" for at in traceback.extract_tb(record.exc_info[2])]
    return line


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        return json.dumps(line_of(record))


def configure(level: str) -> None:
    """Send every logger of this process to standard error as JSON, from `level` up; frameworks from warnings up."""
    handler = DetachedHandler(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("healthrisk").setLevel(level.upper())
    # kserve brings handlers of its own unless its logger has some; these write a line or two for every request.
    for name in ("kserve", "uvicorn", "uvicorn.error", "uvicorn.access"):
        framework = logging.getLogger(name)
        framework.handlers = [logging.NullHandler()] if name == "kserve" else []
        framework.propagate = name != "uvicorn.access"
        framework.setLevel(logging.WARNING)
