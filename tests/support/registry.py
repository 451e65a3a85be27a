"""An empty registry: MLflow takes seconds to make its tables, so that tests copy them."""

from pathlib import Path

import pytest

from tests.support.once import Once


@pytest.fixture(scope="session")
def empty_registry(once: Once) -> Path:
    """The file of a registry with its tables and nothing in them; who writes copies it."""

    def make_tables(folder: Path) -> None:
        # Heavy: workers without such a test need not wait for MLflow.
        from healthrisk.registry import versions

        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
            versions.client()

    return once("registry", make_tables) / "mlflow.db"
