"""Looking for a champion, in a real MLflow registry on SQLite."""

from pathlib import Path

import pytest

from healthrisk.errors import StoreError
from healthrisk.registry import versions

pytestmark = pytest.mark.slow

NAME = "heart-disease"


def test_without_a_version_there_is_no_champion(where: Path) -> None:
    assert versions.champion(NAME) is None


def test_without_a_registry_there_is_no_champion_and_none_is_made(where: Path) -> None:
    (where / "mlflow.db").unlink()
    assert versions.champion(NAME) is None
    assert not (where / "mlflow.db").exists()


def test_an_unreachable_registry_is_named(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match=r"127.0.0.1:9"):
        versions.champion(NAME)
