"""The commands of a rollout, where what they are told cannot be: one line, and not the exit code 0."""

from pathlib import Path

import pytest
from kubernetes.config import kube_config

from tests.support.commands import healthrisk
from tests.support.servers import free_ports

NO_CLUSTER = """
apiVersion: v1
kind: Config
current-context: none
contexts: [{{name: none, context: {{cluster: none, user: none}}}}]
clusters: [{{name: none, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: none, user: {{}}}}]
"""
WATCHED = ("--prometheus", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig whose cluster does not answer; its place is read from the environment once, at the first import."""
    path = tmp_path / "kubeconfig"
    path.write_text(NO_CLUSTER.format(port=free_ports(1)[0]))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))


def refused(*words: str) -> str:
    done = healthrisk("rollout", *words, HEALTHRISK_RETRY_SECONDS="0")
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--weights", "1,5"), "healthrisk: weights '1,5': expected whole numbers from 0 up that rise to 100"),
        (("--weights", "half"), "healthrisk: weights 'half': "),
        (("--sticky", "x caller"), "healthrisk: sticky 'x caller': "),
        (("--requests", "0"), "healthrisk: requests 0: "),
        (("--hold_seconds", "-1"), "healthrisk: hold_seconds -1.0: "),
        (("--dataset", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_a_plan_that_is_none(words: tuple[str, ...], reason: str) -> None:
    assert reason in refused("start", "2", *words)


@pytest.mark.parametrize(
    "words",
    [("start", "2"), ("status",), ("step", *WATCHED), ("promote", *WATCHED), ("abort",)],
    ids=lambda words: words[0],
)
def test_a_cluster_that_does_not_answer(words: tuple[str, ...]) -> None:
    assert "healthrisk: the cluster cannot be asked for inference services: " in refused(*words)


def test_a_context_that_is_none() -> None:
    assert "healthrisk: no cluster: " in refused("abort", "--context", "other")


@pytest.mark.parametrize(
    "words", [("start",), ("step",), ("promote",), ("start", "2", "--requests", "many"), ("halt",)]
)
def test_words_that_are_none(words: tuple[str, ...]) -> None:
    assert healthrisk("rollout", *words).returncode == 2
