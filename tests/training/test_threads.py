"""Threads of BLAS and OpenMP: one on small tables, and on large ones those that the machine has to spare."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import joblib
import psutil
import pytest

# What brings BLAS and OpenMP.
import sklearn.ensemble  # noqa: F401
from threadpoolctl import threadpool_info, threadpool_limits

from healthrisk.training import threads


def threads_of(api: str) -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == api}


@pytest.fixture(autouse=True)
def _all_threads() -> Iterator[None]:
    """As in a process that nobody limits."""
    with threadpool_limits(2 * joblib.cpu_count()):
        yield


@pytest.mark.parametrize("api", ["blas", "openmp"])
def test_a_small_table_has_one_thread(api: str) -> None:
    assert threads_of(api) - {1}
    with threads.for_rows(1000):
        assert threads_of(api) == {1}


@pytest.mark.parametrize("api", ["blas", "openmp"])
def test_a_large_table_has_no_more_than_the_idle_cores(api: str) -> None:
    cores, everybodys = joblib.cpu_count(), psutil.cpu_count()
    assert threads.idle_cores(0) == cores
    assert threads.idle_cores(everybodys) == threads.idle_cores(20 * everybodys) == 1
    with threads.for_rows(threads.ROWS_WORTH_A_THREAD):
        assert threads_of(api) <= set(range(1, cores + 1))


def test_a_thread_beside_others_has_one_of_openmp_while_it_fits() -> None:
    def fit_and_after() -> tuple[set[int], set[int]]:
        # OpenMP's limit is each thread's own: a new one has the environment's.
        with threadpool_limits(4, "openmp"):
            with threads.for_one_of_many():
                while_fitting = threads_of("openmp")
            return while_fitting, threads_of("openmp")

    with ThreadPoolExecutor(1) as beside:
        assert beside.submit(fit_and_after).result() == ({1}, {4})
    assert fit_and_after() == ({4}, {4}), "the main thread fits alone"
