"""Real servers on free ports: started once, shared by every test of the session that does not break them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.data import encoding
from healthrisk.inference.scorer import Scorer
from tests.support import sample_bundle
from tests.support.patience import ANSWER, PROCESS
from tests.support.servers import Pair, Server


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of bundles, each made once."""
    folder = tmp_path_factory.mktemp("bundles")

    @cache
    def make(dataset: str = "heart-disease", family: str = "random_forest", seed: int = 7) -> Path:
        script = Path(sample_bundle.__file__)
        command = [
            sys.executable,
            str(script),
            str(folder),
            f"--dataset={dataset}",
            f"--family={family}",
            f"--seed={seed}",
        ]
        return Path(subprocess.run(command, check=True, capture_output=True, text=True, timeout=PROCESS).stdout.strip())

    return make


@pytest.fixture(scope="session")
def start_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Return a starter of pairs of servers; whoever calls it ends them."""

    def start(bundle: Path, *options: str, environment: dict[str, str] | None = None) -> Pair:
        logs = tmp_path_factory.mktemp("servers")
        predictor = Server("predictor.py", bundle, logs / "predictor.log", options, environment or {})
        host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
        transformer = Server("transformer.py", bundle, logs / "transformer.log", (host, *options), environment or {})
        for server in (predictor, transformer):
            server.start()
        for server in (predictor, transformer):
            server.wait()
        return Pair(transformer, predictor, Bundle.open(bundle))

    return start


@pytest.fixture(scope="session")
def heart_pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served forest on the heart data."""
    pair = start_pair(make_bundle(), "--max_rows=2000", f"--max_body_bytes={2**20}", "--log_level=debug")
    yield pair
    pair.end()


@pytest.fixture(scope="session")
def obesity_pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served forest on rows of the obesity spec: seven classes, codes that are texts."""
    pair = start_pair(make_bundle("obesity"))
    yield pair
    pair.end()


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=ANSWER) as one:
        yield one


@pytest.fixture(scope="session")
def raw_rows() -> Callable[..., list[dict[str, Any]]]:
    """Return the rows that a bundle was made from, as raw values by feature."""

    @cache
    def load(path: Path, seed: int = 7) -> list[dict[str, Any]]:
        spec = Bundle.open(path).spec
        matrix, _ = sample_bundle.rows_of(spec, seed)
        return [dict(zip(spec.features, row, strict=True)) for row in encoding.decode(spec, matrix)]

    return load


@pytest.fixture(scope="session")
def offline() -> Callable[..., np.ndarray]:
    """Return the offline probabilities of raw rows."""
    from healthrisk.inference.scorer import golden_matrix

    def score(bundle: Bundle, rows: list[dict[str, Any]]) -> np.ndarray:
        return Scorer(bundle).probabilities(golden_matrix(bundle.spec, [list(row.values()) for row in rows]))

    return score


@pytest.fixture(scope="session")
def as_tensors() -> Callable[..., list[dict[str, Any]]]:
    """Return v2 inputs of raw rows: one tensor a feature."""

    def convert(bundle: Bundle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "name": column.name,
                "datatype": "BYTES" if column.is_text else "FP64",
                "shape": [len(rows)],
                "data": [row[column.name] for row in rows],
            }
            for column in bundle.spec.columns
        ]

    return convert
