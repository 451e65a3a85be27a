"""Starting a retraining where Kubeflow Pipelines comes late."""

import threading
import time
from pathlib import Path

import pytest

from healthrisk.monitoring.retrain import RetrainError, retrain
from tests.support.listening import Handler, listening
from tests.support.records import done_to
from tests.support.servers import free_ports


class _Started(Handler):
    """Answers that the run is there."""

    def respond(self) -> None:
        self.answer(body=b'{"runs": [{}]}')


def test_a_server_that_cannot_be_reached_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "300")
    (port,) = free_ports(1)
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(retrain(f"http://127.0.0.1:{port}", "heart-disease", "v1")))
    asking.start()
    # Long enough that some tries find nobody.
    time.sleep(1)
    assert asking.is_alive()
    with listening(_Started, port):
        asking.join()
    assert answer == ["run 'retrain heart-disease: drift of v1' was started before"]


def test_a_server_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "0.5")
    (port,) = free_ports(1)
    with pytest.raises(RetrainError, match=f"http://127.0.0.1:{port} does not answer"):
        retrain(f"http://127.0.0.1:{port}", "heart-disease", "v1")


class _Scheduled(Handler):
    """Has a schedule and no run yet."""

    def respond(self) -> None:
        schedule = b'{"experiment_id": "e", "pipeline_version_reference": {}, "runtime_config": {}}'
        self.answer(body=b'{"recurringRuns": [%b]}' % schedule if "recurringruns" in self.path else b"{}")


def test_a_retraining_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path))
    with listening(_Scheduled) as url:
        retrain(url, "heart-disease", "v1")
    assert done_to("") == [("retraining", "retrain heart-disease: drift of v1")]
