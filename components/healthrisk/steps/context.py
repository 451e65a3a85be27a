"""How a step runs: what it logs and what it reports, and how it ends where something goes wrong."""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from healthrisk.errors import HealthriskError
from healthrisk.operations import failed_run
from healthrisk.processes import full_disk
from healthrisk.retry import waits
from healthrisk.steps.artifacts import Artifact
from healthrisk.steps.events import Event, emit

_UNKNOWN = "unknown"
# Kubeflow's servers, as Kubernetes tells a pod where they are. Its launcher tells them at once what a step made, and
# where one does not answer the step fails with all its work: after a crash of the node a step is back before they are.
_RECORDERS = (
    ("METADATA_GRPC_SERVICE_SERVICE_HOST", "METADATA_GRPC_SERVICE_SERVICE_PORT"),
    ("ML_PIPELINE_SERVICE_HOST", "ML_PIPELINE_SERVICE_PORT_GRPC"),
)
_ANSWER_SECONDS = 5.0


@contextmanager
def step_context(title: str, about: str | Artifact = "") -> Iterator[logging.Logger]:
    """Log to standard output and report events; end the process with exit code 1 if the library raises its own error.

    Any other exception is a defect, of ours or of the machine, and keeps its traceback. Either is told to whoever
    HEALTHRISK_ALERTS names; `about` is JSON, or a file of it, that names the model.
    """
    log = logging.getLogger("healthrisk")
    plain = logging.StreamHandler(sys.stdout)
    plain.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handlers = [plain, _Reporter(title)]
    for handler in handlers:
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    emit(Event(step=title, kind="began"))
    try:
        yield log
        for host, port in _RECORDERS:
            if host in os.environ and port in os.environ:
                _wait_for(os.environ[host], int(os.environ[port]), log)
        emit(Event(step=title, kind="ended"))
    except HealthriskError as error:
        emit(Event(step=title, kind="failed", text=_one_line(error)))
        plain.stream.write(f"error: {_one_line(error)}\n")
        failed_run.tell(_model(about), title, failed_run.cause(error))
        raise SystemExit(1) from error
    except Exception as error:
        if said := full_disk(error):
            emit(Event(step=title, kind="failed", text=said))
            plain.stream.write(f"error: {said}\n")
            failed_run.tell(_model(about), title, said)
            raise SystemExit(1) from error
        emit(Event(step=title, kind="crashed", text=f"{type(error).__name__}: {_one_line(error)}"))
        failed_run.tell(_model(about), title, failed_run.cause(error))
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)


def _wait_for(host: str, port: int, log: logging.Logger) -> None:
    """Return when a server takes connections, or after HEALTHRISK_RETRY_SECONDS: the launcher then says what it is."""
    for tried, wait in enumerate(waits()):
        time.sleep(wait)
        try:
            socket.create_connection((host, port), _ANSWER_SECONDS).close()
        except OSError:
            if not tried:
                log.info("waiting for Kubeflow Pipelines at %s:%s to record the step", host, port)
        else:
            return


class _Reporter(logging.Handler):
    """Reports what is logged."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def emit(self, record: logging.LogRecord) -> None:
        emit(Event(step=self._title, kind="said", text=record.getMessage()))


def _model(about: str | Artifact) -> str:
    """Return the model's name, as far as it is known: what failed may be that very document."""
    with suppress(OSError, ValueError, AttributeError):
        text = about if isinstance(about, str) else Path(about.path).read_text()
        return str(json.loads(text).get("name", "")) or _UNKNOWN
    return _UNKNOWN


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
