"""The receiver that is always there: a line of JSON for each message, and an alarm where Prometheus is silent.

It stands beside Alertmanager in one pod. As long as Prometheus evaluates rules, one of them always fires, and comes by
here every minute: once it stays away, nothing else would say that nobody watches.
"""

import datetime
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from pydantic import BaseModel, ValidationError

from healthrisk.documents import Document
from healthrisk.errors import SourceError
from healthrisk.operations.alert import Alert, send
from healthrisk.operations.routes import WATCHDOG

_MOST_BYTES = 4 * 2**20
_SILENT = Alert(
    name="PrometheusSilent",
    severity="critical",
    summary="Prometheus has sent no sign of life: no other alert can come",
    action="kubectl -n healthrisk get pods -l app.kubernetes.io/name=prometheus, then logs deploy/prometheus.",
)


class _Told(BaseModel):
    """One alert of what Alertmanager posts."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}


class _Message(BaseModel):
    alerts: tuple[_Told, ...]


class LogLine(Document):
    """What a line of the log says of an alert."""

    time: str
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    summary: str
    action: str


class MessageLog:
    """Writes messages down, and knows when the watchdog came by last."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._lock = write, threading.Lock()
        self._heard = time.monotonic()

    def take(self, body: bytes) -> None:
        """Write down what Alertmanager posts; the watchdog is only heard.

        Raises:
            pydantic.ValidationError: it is no message of Alertmanager's.
        """
        for told in _Message.model_validate_json(body).alerts:
            if told.labels.get("alertname") == WATCHDOG:
                if told.status == "firing":
                    self._heard = time.monotonic()
                continue
            self._line(told.status, told.labels, told.annotations)

    def watch(self, alertmanager: str, silence: datetime.timedelta, stop: threading.Event) -> None:
        """Raise an alert as long as the watchdog has stayed away for `silence`; end when `stop` is set."""
        while not stop.wait(silence.total_seconds() / 5):
            if time.monotonic() - self._heard < silence.total_seconds():
                continue
            try:
                send(_SILENT, alertmanager, silence)
            except SourceError:
                # Then it is in the log, at least.
                labels = {"alertname": _SILENT.name, "severity": _SILENT.severity}
                self._line("firing", labels, {"summary": _SILENT.summary, "action": _SILENT.action})

    def _line(self, status: Literal["firing", "resolved"], labels: dict[str, str], words: dict[str, str]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        known = {name: words.get(name, "") for name in ("summary", "action")}
        with self._lock:
            self._write(LogLine(time=now, status=status, labels=labels, **known).model_dump_json() + "\n")


def serve(host: str, port: int, alertmanager: str, silence: datetime.timedelta) -> None:
    """Take messages until the process is told to stop."""

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    log, stop = MessageLog(write), threading.Event()
    watcher = threading.Thread(target=log.watch, args=(alertmanager, silence, stop))
    watcher.start()
    try:
        with ThreadingHTTPServer((host, port), _handler(log)) as server:
            server.serve_forever()
    finally:
        stop.set()
        watcher.join()


def _handler(log: MessageLog) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            self._answer(200 if self.path == "/health" else 404)

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _MOST_BYTES:
                self._answer(413)
                return
            try:
                log.take(self.rfile.read(int(length)))
            except ValidationError:
                self._answer(400)
            else:
                self._answer(200)

        def _answer(self, code: int) -> None:
            self.send_response(code)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing of requests: what they hold is what is logged."""

    return Handler
