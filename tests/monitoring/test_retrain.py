"""Starting a retraining where Kubeflow Pipelines comes late."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from healthrisk.monitoring.retrain import RetrainError, retrain
from tests.support.servers import free_ports


class _Started(BaseHTTPRequestHandler):
    """Answers that the run is there."""

    def do_GET(self) -> None:
        body = b'{"runs": [{}]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_a_server_that_cannot_be_reached_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "300")
    (port,) = free_ports(1)
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(retrain(f"http://127.0.0.1:{port}", "heart-disease", "v1")))
    asking.start()
    # Long enough that some tries find nobody.
    time.sleep(1)
    assert asking.is_alive()
    server = ThreadingHTTPServer(("127.0.0.1", port), _Started)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        asking.join()
    finally:
        server.shutdown()
        server.server_close()
    assert answer == ["run 'retrain heart-disease: drift of v1' was started before"]


def test_a_server_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "0.5")
    (port,) = free_ports(1)
    with pytest.raises(RetrainError, match=f"http://127.0.0.1:{port} does not answer"):
        retrain(f"http://127.0.0.1:{port}", "heart-disease", "v1")
