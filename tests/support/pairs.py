"""Real servers on free ports: started once a worker, shared by every test that leaves them whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from healthrisk.bundle import Bundle
from tests.support import http
from tests.support.servers import PATIENT_HOP, Pair, Server


@pytest.fixture(scope="session")
def start_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Return a starter of pairs of servers; whoever calls it ends them."""

    def start(bundle: Path, *options: str, environment: dict[str, str] | None = None) -> Pair:
        logs = tmp_path_factory.mktemp("servers")
        predictor = Server("predictor.py", bundle, logs / "predictor.log", options, environment or {})
        host = f"--predictor_host=127.0.0.1:{predictor.ports[0]}"
        transformer = Server("transformer.py", bundle, logs / "transformer.log", (host, *options), environment or {})
        # What others than we read of the environment, they may read when they are imported.
        ours = all(name.startswith("HEALTHRISK_") for name in environment or ())
        for server in (predictor, transformer):
            server.fork() if ours else server.start()
        for server in (predictor, transformer):
            server.wait()
        return Pair(transformer, predictor, Bundle.open(bundle))

    return start


@pytest.fixture(scope="session")
def heart_pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served forest on the heart data."""
    pair = start_pair(make_bundle(), PATIENT_HOP, "--max_rows=2000", f"--max_body_bytes={2**20}", "--log_level=debug")
    yield pair
    pair.end()


@pytest.fixture(scope="session")
def obesity_pair(make_bundle: Callable[..., Path], start_pair: Callable[..., Pair]) -> Iterator[Pair]:
    """A served forest on rows of the obesity spec: seven classes, codes that are texts."""
    pair = start_pair(make_bundle("obesity"), PATIENT_HOP)
    yield pair
    pair.end()


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with http.client() as one:
        yield one
