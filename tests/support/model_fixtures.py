"""Real bundles of every family, and the shipped heart data as encoded rows."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, start_http_server

from healthrisk import spec as specs
from healthrisk.bundle import Bundle
from healthrisk.spec import DatasetSpec
from healthrisk.training import threads
from tests.support import sample_bundle
from tests.support.prometheus import prometheus
from tests.support.servers import free_ports

Scraping = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def heart() -> tuple[DatasetSpec, np.ndarray, np.ndarray]:
    """The spec, the encoded matrix and the class positions of the shipped heart data."""
    spec = specs.load("heart-disease")
    return spec, *sample_bundle.rows_of(spec, 0)


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Return a maker of bundles, each made once."""
    folder = tmp_path_factory.mktemp("bundles")

    @cache
    def make(dataset: str, family: str) -> Bundle:
        # protobuf turns a warning about numpy's whole numbers in converted trees into an error of its own.
        with warnings.catch_warnings(action="ignore"), threads.for_rows(1000):
            return Bundle.open(sample_bundle.build(dataset, family, folder))

    return make


@pytest.fixture
def scraping(tmp_path: Path) -> Scraping:
    """Return a context: a real Prometheus that reads a registry every second, and rules; it gives its address."""

    @contextmanager
    def run(registry: CollectorRegistry, rules: dict[str, Any] | None = None) -> Iterator[str]:
        (exporter,) = free_ports(1)
        server, thread = start_http_server(exporter, "127.0.0.1", registry)
        try:
            with prometheus(tmp_path, [{"targets": [f"127.0.0.1:{exporter}"]}], json.dumps(rules or {})) as url:
                yield url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    return run
