"""Submitting where no Kubeflow Pipelines answers: one line. tests/e2e has the rest."""

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.support.listening import Handler, listening
from tests.support.patience import run

TRAIN = Path(__file__).parents[2] / "pipelines" / "train_pipeline.py"

pytestmark = pytest.mark.slow


def submit(*words: str, **environment: str) -> str:
    """Submit, which must fail with one line; return it."""
    clean = {name: value for name, value in os.environ.items() if name not in {"KF_PIPELINES_ENDPOINT", "KUBECONFIG"}}
    command = [sys.executable, str(TRAIN), "--submit", *words]
    done = run(command, env={**clean, **environment})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


class _Page(Handler):
    def respond(self) -> None:
        self.answer(body=b"<html>some other service</html>", content_type="text/html")


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_nothing_listens(how: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        line = submit("--host", host) if how == "argument" else submit(KF_PIPELINES_ENDPOINT=host)
    assert f"no Kubeflow Pipelines at {host}" in line


def test_something_else_answers() -> None:
    with listening(_Page) as host:
        assert f"no Kubeflow Pipelines at {host}" in submit("--host", host)


def test_a_server_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert f"no Kubeflow Pipelines at {host}" in submit("--host", host)


def test_no_host_and_no_cluster(tmp_path: Path) -> None:
    line = submit(KUBECONFIG=str(tmp_path / "none"))
    assert "give --host, or KF_PIPELINES_ENDPOINT, or a kube context" in line


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {}}]}"
    )
    assert "the cluster of the kube context does not answer" in submit(KUBECONFIG=str(config))


def test_a_file_of_this_machine(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    assert "the cluster cannot read a file of this machine" in submit("--data", str(table))
