"""Who did what: whole lines of one chain however many act at once, in a folder and in a real S3 server."""

import base64
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from healthrisk.config import settings
from healthrisk.errors import StoreError
from healthrisk.object_store import s3_client
from healthrisk.records import actions, actor, segment
from healthrisk.records.lines import Action
from healthrisk.records.places import open_place
from healthrisk.records.search import find_actions
from healthrisk.records.verify import Rules, verify
from tests.support.commands import healthrisk
from tests.support.records import write_chain
from tests.support.s3 import BUCKET

SIGNING = {"HEALTHRISK_RECORD_SIGNING_KEY": "1" * 64}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path))
    return tmp_path / "records"


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HEALTHRISK_ACTIONS", f"s3://{BUCKET}/done")
    return settings().actions


def act_at_once(number: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda one: actions.note("promoted", "heart-disease", str(one), "d" * 64, "better"), range(number))
        )


def check_whole(address: str, number: int) -> None:
    found = find_actions(open_place(address), "promoted").found
    entries = [one.entry for one in found]
    assert sorted(int(entry.version) for entry in entries if isinstance(entry, Action)) == list(range(number))
    (chain,) = verify(open_place(address), Rules()).chains
    assert (chain.fault, chain.entries, chain.segments) == (None, number, number)


def test_many_who_act_at_once_write_one_chain(folder: Path) -> None:
    act_at_once(24)
    check_whole(str(folder), 24)


def test_a_segment_is_read_by_whoever_reads_those_of_servers(folder: Path, tmp_path: Path) -> None:
    actions.note("promoted", "heart-disease", "1")
    write_chain(tmp_path / "server", range(5))
    ours, servers = (next(place.rglob("*.jsonl")) for place in (folder, tmp_path / "server"))
    assert ours.stat().st_mode == servers.stat().st_mode


def test_many_who_act_at_once_write_one_chain_in_the_object_store(bucket: str) -> None:
    act_at_once(12)
    check_whole(bucket, 12)
    # The job that signs the servers' segments signs these, too.
    carried = healthrisk("records", "carry", "--from", "/tmp", "--to", bucket, **SIGNING)
    assert json.loads(carried.stdout)["faults"] == []
    actions.note("deleted", "heart-disease", "3")
    key = healthrisk("records", "public-key", **SIGNING).stdout.strip()
    verified = healthrisk("records", "verify", bucket, "--public-key", key)
    (chain,) = json.loads(verified.stdout)["chains"]
    assert (chain["fault"], chain["entries"], chain["unsigned"]) == (None, 13, 1)
    plain = [str(one.object_name) for one in s3_client(settings()).list_objects(BUCKET, "done", recursive=True)]
    assert [name for name in plain if name.endswith(".jsonl")] == [f"done/{chain['chain']}/00000013.jsonl"]


def test_the_chain_goes_on_after_its_segments_are_carried_away(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for version in ("1", "2"):
        actions.note("deployed", "heart-disease", version)
        healthrisk("records", "carry", "--from", folder, "--to", tmp_path / "kept", **SIGNING)
    (chain,) = verify(open_place(str(tmp_path / "kept")), Rules()).chains
    assert (chain.fault, chain.segments, chain.entries) == (None, 2, 2)


def test_what_was_done_is_found_by_its_kind_and_by_its_version(folder: Path) -> None:
    actions.note("gate-overridden", "heart-disease", digest="d" * 64, reason="protocol 7 allows it")
    actions.note("rolled-back", "heart-disease", "2", reason="by hand")
    actions.note("rolled-back", "obesity", "2", reason="by hand")

    def found(*words: str) -> list[dict[str, str]]:
        done = healthrisk("records", "find", folder, *words)
        assert done.returncode == 0, done.stderr
        return [one["entry"] for one in json.loads(done.stdout)["found"]]

    assert [entry["reason"] for entry in found("--event", "gate-overridden")] == ["protocol 7 allows it"]
    assert [entry["model"] for entry in found("--event", "rolled-back")] == ["heart-disease", "obesity"]
    (entry,) = found("--version", "2", "--dataset", "heart-disease")
    assert (entry["event"], entry["by"]) == ("rolled-back", actor.current())
    assert found("--event", "deleted") == []


def test_a_line_that_was_altered_is_named(folder: Path) -> None:
    for number in range(3):
        actions.note("promoted", "heart-disease", str(number))
    (chain,) = folder.iterdir()
    path = segment.path_of(chain, 2)
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"7"'))
    done = healthrisk("records", "verify", folder)
    assert done.returncode == 3
    assert "segment 2, line 2 was altered" in json.loads(done.stdout)["chains"][0]["fault"]


def test_what_cannot_be_put_on_record_is_an_error_or_a_warning_as_one_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEALTHRISK_ACTIONS", (tmp_path / "file").as_uri())
    with pytest.raises(StoreError, match="File exists"):
        actions.note("promoted", "heart-disease", "1")
    with caplog.at_level(logging.WARNING, "healthrisk.actions"):
        actions.tell("promoted", "heart-disease", "1")
    assert "promoted of heart-disease 1 is not on record" in caplog.text


def a_token(subject: str) -> str:
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, {"sub": subject}, {})
    )


@pytest.mark.parametrize(
    ("token", "in_pod", "named"),
    [
        (
            a_token("system:serviceaccount:kubeflow:pipeline-runner"),
            True,
            lambda host: "system:serviceaccount:kubeflow:pipeline-runner",
        ),
        ("not a token", True, lambda host: f"pod {host}"),
        (None, True, lambda host: f"pod {host}"),
        (None, False, lambda host: f"ward@{host}"),
    ],
)
def test_who_acts_is_the_account_of_a_pod_or_the_user_of_a_machine(
    token: str | None, in_pod: bool, named: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "TOKEN", tmp_path / "token")
    if token:
        (tmp_path / "token").write_text(token)
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    monkeypatch.setenv("LOGNAME", "ward")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if in_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert actor.current() == named("here")
    monkeypatch.setenv("HEALTHRISK_RUN", "1-2-3")
    assert actor.current() == f"{named('here')}, run 1-2-3"


def test_who_acts_on_a_cluster_from_outside_is_called_as_the_cluster_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "TOKEN", tmp_path / "token")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    here = actor.current()
    actor.known_as("oidc:ada")
    try:
        assert actor.current() == f"oidc:ada, from {here}"
    finally:
        actor.known_as("")
    assert actor.current() == here
