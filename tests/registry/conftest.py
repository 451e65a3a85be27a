"""A registry of its own for each test."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def where(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The HEALTHRISK_HOME that has it, empty."""
    shutil.copy(empty_registry, tmp_path)
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path
