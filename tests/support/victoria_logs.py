"""A real VictoriaLogs on a free port."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import http
from tests.support.patience import ANSWER, until
from tests.support.servers import free_ports


@contextmanager
def victoria_logs(folder: Path, *options: str) -> Iterator[str]:
    """Run a VictoriaLogs that keeps its lines in a folder; yields its address."""
    if shutil.which("victoria-logs") is None:
        pytest.skip("there is no victoria-logs here: make test-tools")
    (port,) = free_ports(1)
    command = ["victoria-logs", f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}/lines", *options]
    with (folder / "victoria-logs.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: _answers(url), (folder / "victoria-logs.log").read_text)
            yield url
        finally:
            running.terminate()
            running.wait(ANSWER)


def _answers(url: str) -> bool:
    try:
        return http.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def lines(url: str, query: str) -> list[dict[str, Any]]:
    """Return the lines that a query finds."""
    text = http.get(f"{url}/select/logsql/query", params={"query": query}).raise_for_status().text
    return [json.loads(line) for line in text.splitlines()]
