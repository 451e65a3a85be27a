"""Models that joblib fits side by side, on a cluster.

joblib has a backend for Dask of its own. It leaves a table's rows on one worker, and with that worker they are lost;
and it makes a task of every tree of a forest. This one sends rows as a task that can be done again, and lets each
model be fitted by one worker.
"""

from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from distributed import Future
from joblib.parallel import (
    AutoBatchingMixin,
    BatchedCalls,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
)
from threadpoolctl import threadpool_limits

from healthrisk.engine.cluster import Cluster

# Bytes from which an array is sent apart from the calls that want it.
_LARGE = 10_000
Call = tuple[Callable[..., object], tuple[object, ...], dict[str, object]]


class DaskBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """What joblib asks to do calls side by side: the workers of a cluster, each call on one thread of one of them."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(nesting_level=0)
        self._cluster = cluster
        # By identity, each with the array itself, so that no other gets its identity.
        self._sent: dict[int, tuple[object, Future]] = {}

    def configure(self, n_jobs: int = 1, parallel: Any = None, prefer: str | None = None, **others: Any) -> int:
        """Say how many calls can be under way; what wants threads, as a forest's trees, stays in this process."""
        if prefer == "threads" or n_jobs == 1:
            raise FallbackToBackend(ThreadingBackend(nesting_level=self.nesting_level))
        return int(super().configure(n_jobs, parallel, **others))

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the cluster's threads, where more than one is asked for."""
        return 1 if n_jobs == 1 else self._cluster.threads()

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int]:
        """Return what a call itself uses."""
        return SequentialBackend(nesting_level=1), 1

    def submit(self, func: BatchedCalls, callback: Callable[[Future], None] | None = None) -> Future:
        """Hand calls to a worker."""
        task = self._cluster.submit(_call_all, [self._without_arrays(call) for call in func.items])
        if callback:
            task.add_done_callback(callback)
        return task

    def retrieve_result_callback(self, out: Future) -> Any:
        """Return what came of calls, or raise what they raised."""
        return self._cluster.results([out])[0]

    def stop_call(self) -> None:
        """Let go of the arrays; Dask calls off what nobody waits for any more."""
        self._sent.clear()

    def _without_arrays(self, call: Call) -> Call:
        function, arguments, named = call
        return (
            function,
            tuple(self._apart(value) for value in arguments),
            {name: self._apart(value) for name, value in named.items()},
        )

    def _apart(self, value: object) -> object:
        if not isinstance(value, np.ndarray) or value.nbytes < _LARGE:
            return value
        if id(value) not in self._sent:
            self._sent[id(value)] = value, self._cluster.keep(value)
        return self._sent[id(value)][1]


def _call_all(calls: list[Call]) -> list[object]:
    # One model, one thread: as `parallel_config` says of processes here, and so that sums are rounded alike.
    with joblib.parallel_config("sequential"), threadpool_limits(1):
        return [function(*arguments, **named) for function, arguments, named in calls]
