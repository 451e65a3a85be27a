"""Which fixtures all rooms share, and which tests take longer than a person who edits wants to wait."""

import os
from pathlib import Path

import pytest

# Threads of BLAS and OpenMP wait for one another by spinning, and tests that run side by side leave them no core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
FIXTURES = (
    *("once", "runs", "bundles", "outcomes", "mariadb", "pairs", "postgres", "prometheus", "registry", "s3"),
    *("small_disk", "unseen"),
)
# Whatever starts the pipeline, servers, MLflow or a Prometheus.
SLOW = {
    "pipeline",
    "home",
    "own_home",
    "empty_registry",
    "launched",
    "unseen",
    "start_pair",
    "start_outcomes",
    "gateway",
    "scraping",
    "s3",
    "image",
    "kubernetes_schemas",
    "mariadb",
    "postgres",
}
# What takes longest comes first, so that no worker ends long after the others; two of these never wait for one `home`.
FIRST = (
    *("pipelines/test_local", "serving/test_failures", "serving/test_clients", "pipelines", "test_readme", "serving"),
    *("evidence", "test_no_telemetry", "operations", "monitoring"),
)


def pytest_configure(config: pytest.Config) -> None:
    # A process that hands tests out to others runs none, and need not wait for the imports of fixtures.
    if config.getoption("dist", "no") == "no" or config.option.collectonly:
        for name in FIXTURES:
            config.pluginmanager.import_plugin(f"tests.support.{name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: next((place for place, name in enumerate(FIRST) if f"tests/{name}" in item.nodeid), 99))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def uci() -> Path:
    """The folder of UCI's own files."""
    return ROOT / "tests" / "support" / "uci"


@pytest.fixture
def port() -> int:
    """The first of twelve ports that nothing listens on."""
    from tests.support.servers import free_ports

    return free_ports(12)[0]
