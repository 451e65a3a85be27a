"""How many OpenMP threads a computation gets."""

import os
from contextlib import AbstractContextManager

import joblib
from threadpoolctl import threadpool_limits

# Threads of OpenMP wait for one another by spinning. On a few thousand rows a second one gains nothing, and on a busy
# machine two of them made a boosted model fit 35 times slower than one did.
ROWS_WORTH_A_THREAD = 50_000


def for_rows(rows: int) -> AbstractContextManager[object]:
    """Return a context that keeps OpenMP to one thread where a table is small, else to the cores that are idle."""
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if rows < ROWS_WORTH_A_THREAD else idle_cores(os.getloadavg()[0]), "openmp"
    )
    return limits


def idle_cores(load: float) -> int:
    """Return how many cores are left beside so many running processes, at least one."""
    cores: int = joblib.cpu_count()
    return max(1, cores - round(load))
