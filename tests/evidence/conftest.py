"""Real bundles of every family, and the shipped heart data as coded rows."""

import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from healthrisk import spec as specs
from healthrisk import threads
from healthrisk.bundle import Bundle
from healthrisk.spec import DatasetSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "kserve"))

import sample_bundle


@pytest.fixture(scope="session")
def heart() -> tuple[DatasetSpec, np.ndarray, np.ndarray]:
    """The spec, the coded matrix and the class positions of the shipped heart data."""
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
