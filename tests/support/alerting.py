"""A real Alertmanager, and whom it tells: an HTTP server that keeps what is posted, and a mail server with its box."""

import json
import mailbox
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from healthrisk.operations import receivers, routes
from tests.support import http
from tests.support.listening import Handler, listening
from tests.support.patience import ANSWER, until
from tests.support.servers import free_ports

Posted = tuple[str, Any]
NOBODY = "http://127.0.0.1:9/"


@dataclass
class Inbox:
    """What was posted, in order: the path and the JSON of each."""

    url: str
    posted: list[Posted]

    def at(self, path: str) -> list[Any]:
        return [body for where, body in self.posted if where == path]

    def wait(self, path: str, says: str) -> Any:
        """Return the first message at a path that holds some words."""

        def first() -> Any:
            return next((body for body in self.at(path) if says in json.dumps(body)), None)

        return until(first, lambda: f"{path} {says}: {self.posted}")


@contextmanager
def inbox() -> Iterator[Inbox]:
    """Run an HTTP server that takes every message as Slack's and PagerDuty's do."""

    posted: list[Posted] = []

    class Messages(Handler):
        def respond(self) -> None:
            posted.append((self.path, json.loads(self.body())))
            # Slack's own word; Alertmanager takes no other for a success.
            self.answer(202 if self.path == "/pager" else 200, b"ok", "text/plain")

    with listening(Messages) as url:
        yield Inbox(url, posted)


@contextmanager
def mail_server(folder: Path) -> Iterator[tuple[str, mailbox.Maildir]]:
    """Run a mail server; yield its HOST:PORT and the box that holds whatever it takes."""
    (port,) = free_ports(1)
    box = mailbox.Maildir(folder / "mail")
    command = [sys.executable, "-m", "aiosmtpd", "--nosetuid", f"--listen=127.0.0.1:{port}"]
    command += ["--class", "aiosmtpd.handlers.Mailbox", str(folder / "mail")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: _listens(port), lambda: "no mail server")
            yield f"127.0.0.1:{port}", box
        finally:
            process.terminate()
            process.wait(ANSWER)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tool(name: str) -> str:
    """Return the path of alertmanager or amtool."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here: make test-tools")
    return path


def write_config(folder: Path, secret: dict[str, str], log_url: str = NOBODY, group_wait: str = "1s") -> Path:
    """Write what a secret of these keys gives, with groups that wait for seconds, not minutes; return the file."""
    held = folder / "receivers"
    held.mkdir(exist_ok=True)
    for key, value in secret.items():
        (held / key).write_text(f"{value}\n")
    config = routes.config(receivers.read(held), log_url)
    config["route"]["group_wait"] = group_wait
    for route in (config["route"], *config["route"]["routes"]):
        route["group_interval"] = "5s"
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def alertmanager(folder: Path, config: Path, port: int | None = None) -> Iterator[str]:
    """Run an Alertmanager with a configuration and yield its address."""
    port = port or free_ports(1)[0]
    command = [tool("alertmanager"), f"--config.file={config}", f"--storage.path={folder}/alertmanager"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with (folder / "alertmanager.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            until(lambda: _answers(port), (folder / "alertmanager.log").read_text)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(ANSWER)


def _answers(port: int) -> bool:
    try:
        return http.get(f"http://127.0.0.1:{port}/-/ready").is_success
    except httpx.TransportError:
        return False
