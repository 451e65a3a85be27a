"""Where joblib fits models side by side."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from healthrisk.config import settings


def side_by_side() -> int:
    """Return how many processes may share a work of seconds: one a core where they are forked, else one in all.

    One that is not forked would import for as long as the work takes.
    """
    # What hands out fragments alone does not need it.
    import joblib

    cores: int = joblib.cpu_count()
    return cores if multiprocessing.get_start_method() == "fork" else 1


@contextmanager
def parallel_config(backend: str, **arguments: Any) -> Iterator[None]:
    """Do what joblib's `parallel_config` does, or where HEALTHRISK_DASK names a cluster, let its workers fit.

    Raises:
        ConfigError: HEALTHRISK_DASK is no address.
        EngineError: the cluster is not there, or has other versions than this process.
    """
    import joblib

    if not (address := settings().dask):
        with joblib.parallel_config(backend, **arguments):
            yield
        return
    # Takes a second, and the package of an extra.
    from healthrisk.engine.cluster import connected
    from healthrisk.engine.joblib_backend import DaskBackend

    with connected(address) as cluster, joblib.parallel_config(DaskBackend(cluster)):
        yield
