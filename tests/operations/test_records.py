"""The record of use on its way: from the servers' folder into a real S3 server, verified and searched there."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from minio import Minio
from minio.error import S3Error

from healthrisk.config import settings
from healthrisk.object_store import s3_client
from healthrisk.operations.record_commands import KEEP_DAYS
from healthrisk.records import segment
from tests.support.commands import healthrisk
from tests.support.records import write_chain

BUCKET, LOCKED = "records", "records-locked"
CHAIN = "heart-disease-transformer-pod-1"
SIGNING = {"HEALTHRISK_RECORD_SIGNING_KEY": "1" * 64}


@pytest.fixture
def client(endpoint: str) -> Iterator[Minio]:
    connected = s3_client(settings())
    connected.make_bucket(bucket_name=BUCKET)
    yield connected
    for item in connected.list_objects(bucket_name=BUCKET, recursive=True):
        connected.remove_object(bucket_name=BUCKET, object_name=str(item.object_name))
    connected.remove_bucket(bucket_name=BUCKET)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    write_chain(tmp_path / "spool" / CHAIN, range(12))
    return tmp_path / "spool"


def carry(spool: Path, address: str = f"s3://{BUCKET}/use", *more: str) -> tuple[int, dict[str, object]]:
    done = healthrisk("records", "carry", "--from", spool, "--to", address, *more, **SIGNING)
    return done.returncode, json.loads(done.stdout)


def public() -> str:
    done = healthrisk("records", "public-key", **SIGNING)
    assert done.returncode == 0
    return done.stdout.strip()


def test_a_record_is_carried_verified_and_searched_in_the_object_store(client: Minio, spool: Path) -> None:
    assert carry(spool) == (0, {"carried": 3, "removed": 0, "faults": []})
    assert carry(spool) == (0, {"carried": 0, "removed": 0, "faults": []})
    done = healthrisk("records", "verify", f"s3://{BUCKET}/use", "--public-key", public())
    assert done.returncode == 0, done.stderr
    (chain,) = json.loads(done.stdout)["chains"]
    assert (chain["chain"], chain["segments"], chain["entries"], chain["unsigned"]) == (CHAIN, 3, 12, 0)
    # The chain goes on after what was carried away, and in the store both are one.
    write_chain(spool / CHAIN, range(12, 14))
    assert carry(spool)[0] == 0
    done = healthrisk("records", "verify", f"s3://{BUCKET}/use", "--public-key", public())
    assert json.loads(done.stdout)["chains"][0]["entries"] == 14


def test_whoever_signs_with_another_key_is_told_of_with_an_exit_code_of_its_own(client: Minio, spool: Path) -> None:
    carry(spool)
    done = healthrisk("records", "verify", f"s3://{BUCKET}/use", "--public-key", "0" * 63 + "1")
    assert done.returncode == 3
    assert "segment 1, its signature is by none of the keys" in json.loads(done.stdout)["chains"][0]["fault"]


def test_an_object_that_was_removed_is_missed(client: Minio, spool: Path, tmp_path: Path) -> None:
    carry(spool)
    words = ["records", "verify", f"s3://{BUCKET}/use", "--public-key", public()]
    (tmp_path / "seen.json").write_text(healthrisk(*words).stdout)
    client.remove_object(bucket_name=BUCKET, object_name=f"use/{CHAIN}/00000003.jsonl.gz")
    assert healthrisk(*words).returncode == 0
    done = healthrisk(*words, "--known", tmp_path / "seen.json")
    assert done.returncode == 3
    assert "it went on to line 4 of segment 3 before" in done.stdout
    client.remove_object(bucket_name=BUCKET, object_name=f"use/{CHAIN}/00000001.jsonl.gz")
    done = healthrisk(*words)
    assert done.returncode == 3
    assert "segment 1 before it is missing, and is kept for 184 days" in done.stdout


def test_where_the_store_has_locks_nobody_removes_a_segment_before_its_time(client: Minio, spool: Path) -> None:
    client.make_bucket(bucket_name=LOCKED, object_lock=True)
    assert carry(spool, f"s3://{LOCKED}/use")[0] == 0
    name = f"use/{CHAIN}/00000001.jsonl.gz"
    kept = client.get_object_retention(bucket_name=LOCKED, object_name=name)
    assert kept is not None
    assert (kept.retain_until_date - datetime.now(UTC)).days in {KEEP_DAYS - 1, KEEP_DAYS}
    version = client.stat_object(bucket_name=LOCKED, object_name=name).version_id
    with pytest.raises(S3Error):
        client.remove_object(bucket_name=LOCKED, object_name=name, version_id=version)
    assert healthrisk("records", "verify", f"s3://{LOCKED}/use", "--public-key", public()).returncode == 0


def test_what_is_locked_stays_and_what_was_is_gone_with_all_its_versions(
    client: Minio, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path / "home"))
    for bucket in ("records-now", "records-then"):
        client.make_bucket(bucket_name=bucket, object_lock=True)
    # A site keeps less than it did: what was locked by the old rule stays, and is found.
    assert carry(spool, "s3://records-now/use")[0] == 0
    assert carry(spool, "s3://records-now/use", "--keep-days=1e-9") == (0, {"carried": 0, "removed": 0, "faults": []})
    assert healthrisk("records", "verify", "s3://records-now/use", "--public-key", public()).returncode == 0
    # As if the locks had ended.
    for item in client.list_objects(bucket_name="records-now", recursive=True):
        name = str(item.object_name)
        client.fget_object(bucket_name="records-now", object_name=name, file_path=str(tmp_path / "one"))
        client.fput_object(bucket_name="records-then", object_name=name, file_path=str(tmp_path / "one"))
    assert carry(spool, "s3://records-then/use", "--keep-days=1e-9") == (0, {"carried": 0, "removed": 3, "faults": []})
    assert list(client.list_objects(bucket_name="records-then", recursive=True, include_version=True)) == []


def test_what_is_at_fault_is_not_carried_and_said_with_an_exit_code_of_its_own(client: Minio, spool: Path) -> None:
    path = segment.path_of(spool / CHAIN, 2)
    path.write_bytes(path.read_bytes().replace(b'"rows":1', b'"rows":2', 1))
    code, done = carry(spool)
    assert (code, done["carried"]) == (3, 1)
    assert f"chain {CHAIN}, segment 2, line 2 was altered" in str(done["faults"])


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("carry", "--to", "s3://none/use"), SIGNING, "which folder?"),
        (("carry", "--from", "/none", "--to", "s3://none/use"), SIGNING, "there is no bucket 'none'"),
        (("carry", "--from", "/none", "--to", "/tmp"), SIGNING, "record '/none': no such folder"),
        (
            ("carry", "--from", "/tmp", "--to", "/tmp"),
            {"HEALTHRISK_RECORD_SIGNING_KEY": "mine"},
            "64 hexadecimal digits",
        ),
        (("verify", "ftp://x/y"), {}, "record 'ftp://x/y': expected a folder"),
        (("verify", "/tmp", "--public-key", "mine"), {}, "public key 'mine': expected 64 hexadecimal digits"),
        (("verify", "/tmp", "--known", "/none"), {}, "/none: expected what `records verify` printed"),
        (("find", "/tmp", "--rows", "x.json"), {}, "HEALTHRISK_RECORD_KEY is missing"),
        (("find", "/tmp", "--rows", "/none.json"), {"HEALTHRISK_RECORD_KEY": "k" * 32}, "/none.json cannot be read"),
        (("find", "/tmp", "--receipt", "%%%"), {}, "not a receipt: expected base64url"),
        (("public-key",), {}, "HEALTHRISK_RECORD_SIGNING_KEY, which signs the record: expected 64 hexadecimal digits"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    endpoint: str, words: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    done = healthrisk("records", *words, **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "mine" not in done.stderr or "public key" in done.stderr


def test_days_to_keep_are_more_than_none() -> None:
    assert healthrisk("records", "verify", "/tmp", "--keep-days", "0").returncode == 2


def test_a_version_is_a_number() -> None:
    done = healthrisk("records", "find", "/tmp", "--version", "three")
    assert done.returncode == 2
    assert "'three': expected a version's number" in done.stderr


def test_where_no_record_is_nothing_is_whole_and_nobody_was_not_asked(spool: Path, tmp_path: Path) -> None:
    """A mistyped address, or one of a chain itself, is no record that is whole."""
    receipt = ("--receipt", "A" * 112)
    seen = healthrisk("records", "verify", spool)
    assert seen.returncode == 0
    (tmp_path / "seen.json").write_text(seen.stdout)
    (tmp_path / "empty").mkdir()
    for place in (spool / CHAIN, tmp_path / "empty"):
        for words in (("verify", place), ("find", place, "--event", "promoted"), ("find", place, *receipt)):
            done = healthrisk("records", *words)
            assert done.returncode == 1, words
            assert f"record '{place}': no chain is there" in done.stderr
    # Whoever has seen one is told that it is gone.
    done = healthrisk("records", "verify", tmp_path / "empty", "--known", tmp_path / "seen.json")
    assert done.returncode == 3
    assert "it is gone, and was there before" in done.stdout
