"""What a step reports as it runs, and how it ends: in processes of its own, as KFP starts one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from healthrisk.steps.events import Event, Reader
from tests.support import patience
from tests.support.servers import free_ports

SCRIPT = """
from healthrisk.errors import SourceError
from healthrisk.steps.context import step_context
with step_context("Count") as log:
    log.info("%s rows", 3)
    {then}
"""


@pytest.mark.parametrize(
    ("then", "code", "last"),
    [
        ("pass", 0, Event(step="Count", kind="ended")),
        ("raise SourceError('no\\n  file')", 1, Event(step="Count", kind="failed", text="no file")),
        ("1 / 0", 1, Event(step="Count", kind="crashed", text="ZeroDivisionError: division by zero")),
        ("import os; os._exit(9)", 9, Event(step="Count", kind="said", text="3 rows")),
    ],
)
@pytest.mark.slow
def test_a_step_reports_how_it_ends(then: str, code: int, last: Event, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.touch()
    environment = {**os.environ, "HEALTHRISK_EVENTS": str(events)}
    done = patience.run([sys.executable, "-c", SCRIPT.format(then=then)], env=environment)
    assert done.returncode == code
    assert "healthrisk: 3 rows" in done.stdout
    events_read = list(Reader(events).read())
    assert events_read[:2] == [Event(step="Count", kind="began"), Event(step="Count", kind="said", text="3 rows")]
    assert events_read[-1] == last
    assert ("Traceback" in done.stderr) == (last.kind == "crashed")


@pytest.mark.slow
def test_without_a_listener_a_step_only_logs(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HEALTHRISK_EVENTS"}
    done = patience.run([sys.executable, "-c", SCRIPT.format(then="raise SourceError('no file')")], env=environment)
    assert (done.returncode, done.stdout) == (1, "healthrisk: 3 rows\nerror: no file\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "service",
    [
        ("METADATA_GRPC_SERVICE_SERVICE_HOST", "METADATA_GRPC_SERVICE_SERVICE_PORT"),
        ("ML_PIPELINE_SERVICE_HOST", "ML_PIPELINE_SERVICE_PORT_GRPC"),
    ],
)
def test_a_step_ends_when_what_it_made_can_be_recorded(service: tuple[str, str]) -> None:
    """Kubeflow's launcher fails a step whose servers are away, as they are after a crash of the node."""
    host, port = service
    (number,) = free_ports(1)
    environment = {
        **os.environ,
        host: "127.0.0.1",
        port: str(number),
        "HEALTHRISK_RETRY_SECONDS": str(patience.PROCESS),
    }
    command = [sys.executable, "-u", "-c", SCRIPT.format(then="pass")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as step:
        assert step.stdout
        next(line for line in step.stdout if f"waiting for Kubeflow Pipelines at 127.0.0.1:{number}" in line)
        assert step.poll() is None
        with socket.create_server(("127.0.0.1", number)):
            assert step.wait(patience.PROCESS) == 0


@pytest.mark.slow
def test_a_step_does_not_wait_for_ever() -> None:
    (number,) = free_ports(1)
    away = {"ML_PIPELINE_SERVICE_HOST": "127.0.0.1", "ML_PIPELINE_SERVICE_PORT_GRPC": str(number)}
    environment = {**os.environ, **away, "HEALTHRISK_RETRY_SECONDS": "0.6"}
    done = patience.run([sys.executable, "-c", SCRIPT.format(then="pass")], env=environment)
    assert done.returncode == 0
    assert "waiting for" in done.stdout


def test_a_line_that_is_not_whole_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = Event(step="Count", kind="began").model_dump_json().encode()
    path.write_bytes(whole + b"\n" + whole[:9])
    reader = Reader(path)
    assert len(list(reader.read())) == 1
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(whole[9:] + b"\n")
    assert list(reader.read()) == [Event(step="Count", kind="began")]
