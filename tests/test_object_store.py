"""Encryption that the store is asked for by every call that puts; one that keeps silent about it is not believed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from minio.error import MinioException

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import ConfigError, StoreError
from healthrisk.object_store import ObjectStore, s3_client
from healthrisk.records.places import open_place
from tests.support.listening import Handler, listening
from tests.support.s3 import BUCKET

SILENT = "does not say that .* is encrypted by AES256, as HEALTHRISK_S3_ENCRYPTION asks"
PUTS: dict[str, Callable[[ObjectStore, Path], object]] = {
    "bytes": lambda client, _: client.put_object(BUCKET, "one", BytesIO(b"x"), 1),
    "file": lambda client, file: client.fput_object(BUCKET, "one", str(file)),
    "new": lambda client, _: client.create_object(BUCKET, "one", b"x"),
}


@dataclass
class Asked:
    """The headers of what a store was asked to put, and to which method it says how it encrypted that."""

    headers: list[dict[str, str]] = field(default_factory=list)
    says_to: str = "PUT"


@pytest.fixture
def encrypting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """A store that says how it encrypts what it takes, as S3 does; the one that tests have here encrypts nothing."""
    asked = Asked()

    class Store(Handler):
        def respond(self) -> None:
            if self.command == "PUT":
                self.body()
                asked.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.answer()

        def end_headers(self) -> None:
            if self.command == asked.says_to:
                self.send_header("x-amz-server-side-encryption", asked.headers[-1]["x-amz-server-side-encryption"])
            super().end_headers()

    for name, value in (("ACCESS_KEY_ID", "tests"), ("SECRET_ACCESS_KEY", "testsecret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with listening(Store) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield asked


@pytest.mark.parametrize("put", PUTS)
@pytest.mark.parametrize(("given", "key"), [("AES256", ""), ("aws:kms:arn:aws:kms:x:1:key/2", "arn:aws:kms:x:1:key/2")])
def test_every_call_that_puts_asks_for_it_under_its_signature(
    put: str, given: str, key: str, encrypting: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEALTHRISK_S3_ENCRYPTION", given)
    (tmp_path / "file").write_bytes(b"x")
    PUTS[put](s3_client(settings()), tmp_path / "file")
    (headers,) = encrypting.headers
    assert headers["x-amz-server-side-encryption"] == ("aws:kms" if key else "AES256")
    assert headers.get("x-amz-server-side-encryption-aws-kms-key-id", "") == key
    # S3 takes no header of its own that is not signed.
    assert "x-amz-server-side-encryption" in headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]


def test_a_store_may_say_it_of_what_is_there(
    encrypting: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEALTHRISK_S3_ENCRYPTION", "AES256")
    encrypting.says_to = "HEAD"
    assert s3_client(settings()).create_object(BUCKET, "one", b"x")


@pytest.mark.parametrize("put", PUTS)
def test_a_store_that_keeps_silent_about_it_is_not_believed(
    put: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """versitygw takes the header and encrypts nothing."""
    (tmp_path / "file").write_bytes(b"x")
    s3_client(settings()).remove_object(BUCKET, "one")
    monkeypatch.setenv("HEALTHRISK_S3_ENCRYPTION", "AES256")
    with pytest.raises(MinioException, match=SILENT):
        PUTS[put](s3_client(settings()), tmp_path / "file")


def test_bundles_and_records_are_not_kept_there_either(
    endpoint: str, bundle_of: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEALTHRISK_S3_ENCRYPTION", "AES256")
    with pytest.raises(StoreError, match=f"bundle store s3://{BUCKET}/.*{SILENT}"):
        store.put(bundle_of("heart-disease", "logistic_regression"), f"s3://{BUCKET}/{tmp_path.name}")
    place = open_place(f"s3://{BUCKET}/{tmp_path.name}")
    with pytest.raises(StoreError, match=f"cannot be written: .*{SILENT}"):
        place.create("chain/00000001.jsonl", b"x")
    with pytest.raises(StoreError, match=f"cannot be written: .*{SILENT}"):
        place.write("chain/00000001.jsonl.gz", b"x", datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize("given", ["aes256", "aws:kms:", "aws:kms", "aws:kms:two words"])
def test_what_is_no_encryption_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTHRISK_S3_ENCRYPTION", given)
    with pytest.raises(ConfigError, match=rf"^HEALTHRISK_S3_ENCRYPTION '{given}': expected AES256 or aws:kms:KEY$"):
        settings()
