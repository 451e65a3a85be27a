"""How many threads of BLAS and OpenMP a computation gets."""

import threading
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import joblib
import psutil
from threadpoolctl import ThreadpoolController, threadpool_limits

# Such threads wait for one another by spinning. On a few thousand rows a second one gains nothing: with it a logistic
# regression took 2.7 times the CPU, and on a busy machine a boosted model fitted 35 times slower.
ROWS_WORTH_A_THREAD = 50_000
_LOOK_SECONDS = 0.2


def for_rows(rows: int) -> AbstractContextManager[object]:
    """Return a context that keeps both to one thread where a table is small, else to the cores that are idle."""
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if rows < ROWS_WORTH_A_THREAD else idle_cores(_busy_cores())
    )
    return limits


def for_one_of_many() -> AbstractContextManager[object]:
    """Return a context that keeps OpenMP to one thread in a thread that fits beside others; the main thread is free.

    Such a thread would bring as many as there are cores: OpenMP's limit holds for the thread that set it.
    """
    alone = threading.current_thread() is threading.main_thread()
    limits: AbstractContextManager[object] = nullcontext() if alone else _openmp().limit(limits=1)
    return limits


@cache
def _openmp() -> ThreadpoolController:
    """Find the OpenMP of scikit-learn once: to look through all loaded libraries takes milliseconds, a limit 15 us."""
    return ThreadpoolController().select(user_api="openmp")


def _busy_cores() -> float:
    """Look for a moment how many cores of the machine are busy: its load still counts the step that has just ended."""
    return float(psutil.cpu_percent(_LOOK_SECONDS) / 100 * psutil.cpu_count())


def idle_cores(busy: float) -> int:
    """Return how many of our cores are left where so many of the machine's are busy, at least one."""
    return max(1, min(int(joblib.cpu_count()), round(int(psutil.cpu_count()) - busy)))
