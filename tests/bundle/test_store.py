"""Bundles and tables in a folder and in a real S3 server: what went in comes out, whole, or is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from healthrisk import datasets
from healthrisk import spec as specs
from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.data.ingest import ingest
from healthrisk.errors import BundleError, SourceError, StoreError
from tests.support.s3 import BUCKET


@pytest.fixture
def made(bundle_of: Callable[..., Bundle]) -> Bundle:
    return bundle_of("heart-disease", "logistic_regression")


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store of either kind."""
    if request.param == "file":
        return (tmp_path / "store").as_uri()
    request.getfixturevalue("endpoint")
    return f"s3://{BUCKET}/{tmp_path.name}"


def test_what_is_put_is_fetched_unaltered(made: Bundle, root: str, tmp_path: Path) -> None:
    uri = store.put(made, root)
    assert uri == f"{root}/heart-disease/{made.digest}"
    assert store.put(made, root) == uri
    fetched = store.fetch(uri, made.digest, tmp_path / "cache")
    for name in made.manifest.files:
        assert (fetched.path / name).read_bytes() == (made.path / name).read_bytes()


def test_what_is_not_there_is_refused(made: Bundle, root: str, tmp_path: Path) -> None:
    uri = f"{root}/heart-disease/{'0' * 64}"
    with pytest.raises(StoreError, match="0000"):
        store.fetch(uri, None, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("linear.json"))


def test_another_bundle_than_the_one_asked_for_is_refused(made: Bundle, root: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected " + "0" * 64):
        store.fetch(store.put(made, root), "0" * 64, tmp_path / "cache")


def test_an_altered_object_is_refused(made: Bundle, endpoint: str, tmp_path: Path) -> None:
    uri = store.put(made, f"s3://{BUCKET}/{tmp_path.name}")
    key = uri.removeprefix(f"s3://{BUCKET}/") + "/linear.json"
    (tmp_path / "other").write_bytes(b"another model")
    store.s3_client(settings()).fput_object(bucket_name=BUCKET, object_name=key, file_path=str(tmp_path / "other"))
    with pytest.raises(BundleError, match=r"linear\.json"):
        store.fetch(uri, made.digest, tmp_path / "cache")
    store.put(made, f"s3://{BUCKET}/{tmp_path.name}")
    assert store.fetch(uri, made.digest, tmp_path / "cache").digest == made.digest


def test_an_upload_that_was_cut_off_is_no_bundle(made: Bundle, endpoint: str, tmp_path: Path) -> None:
    uri = store.put(made, f"s3://{BUCKET}/{tmp_path.name}")
    key = uri.removeprefix(f"s3://{BUCKET}/") + "/MANIFEST.json"
    store.s3_client(settings()).remove_object(bucket_name=BUCKET, object_name=key)
    with pytest.raises(StoreError, match=made.digest):
        store.fetch(uri, made.digest, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "signature|denied"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "127.0.0.1"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:9", "expected http://HOST"),
    ],
)
def test_a_store_that_does_not_answer_is_named(
    name: str, value: str, says: str, made: Bundle, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTHRISK_RETRY_SECONDS", "0.5")
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=f"(?i){says}"):
        store.put(made, f"s3://{BUCKET}/x")


def test_a_bucket_that_is_not_there_is_named(made: Bundle, endpoint: str) -> None:
    with pytest.raises(StoreError, match="no bucket 'nowhere'"):
        store.put(made, "s3://nowhere/x")


def test_an_unknown_kind_of_store_is_refused(made: Bundle) -> None:
    with pytest.raises(StoreError, match="'ftp://there': expected file:///FOLDER or s3://"):
        store.put(made, "ftp://there")


def test_a_table_may_lie_in_a_bucket(endpoint: str, tmp_path: Path) -> None:
    shipped = Path(datasets.__path__[0]) / "heart-disease.csv"
    client = store.s3_client(settings())
    client.fput_object(bucket_name=BUCKET, object_name="tables/heart.csv", file_path=str(shipped))
    heart = specs.load("heart-disease")
    assert ingest(heart, f"s3://{BUCKET}/tables/heart.csv", tmp_path / "table").source == "shipped"
    with pytest.raises(SourceError, match=r"s3://bundles/tables/none\.csv cannot be read"):
        ingest(heart, f"s3://{BUCKET}/tables/none.csv", tmp_path / "table")
    assert list(tmp_path.iterdir()) == [tmp_path / "table"]
