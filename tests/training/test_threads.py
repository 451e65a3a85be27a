"""OpenMP's threads: one on small tables, and on large ones those that the machine has to spare."""

import joblib
from threadpoolctl import threadpool_info

from healthrisk.training import threads


def openmp() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}


def test_a_small_table_has_one_thread() -> None:
    with threads.for_rows(1000):
        assert openmp() <= {1}


def test_a_large_table_has_no_more_than_the_idle_cores() -> None:
    cores = joblib.cpu_count()
    assert threads.idle_cores(0) == cores
    assert threads.idle_cores(cores) == threads.idle_cores(20 * cores) == 1
    with threads.for_rows(threads.ROWS_WORTH_A_THREAD):
        assert openmp() <= set(range(1, cores + 1))
