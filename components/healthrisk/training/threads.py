"""How many threads of BLAS and OpenMP a computation gets."""

import os
from contextlib import AbstractContextManager

import joblib
from threadpoolctl import threadpool_limits

# Such threads wait for one another by spinning. On a few thousand rows a second one gains nothing: with it a logistic
# regression took 2.7 times the CPU, and on a busy machine a boosted model fitted 35 times slower.
ROWS_WORTH_A_THREAD = 50_000


def for_rows(rows: int) -> AbstractContextManager[object]:
    """Return a context that keeps both to one thread where a table is small, else to the cores that are idle."""
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if rows < ROWS_WORTH_A_THREAD else idle_cores(os.getloadavg()[0])
    )
    return limits


def idle_cores(load: float) -> int:
    """Return how many cores are left beside so many running processes, at least one."""
    cores: int = joblib.cpu_count()
    return max(1, cores - round(load))
