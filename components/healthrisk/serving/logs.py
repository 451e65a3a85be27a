"""Structured logs: one JSON object a line, for machines to read. No line holds a value out of a request."""

import json
import logging
import sys
import time
import traceback
from typing import Any

REQUESTS = logging.getLogger("healthrisk.requests")
_FIELDS = ("request_id", "trace_id", "model", "version", "protocol", "code", "reason", "ms")


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object.

    Of an exception only its type and place are written: its message may quote a value.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
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
        return json.dumps(line)


def configure(level: str) -> None:
    """Send every logger of this process to standard error as JSON, from `level` up; frameworks from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
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
