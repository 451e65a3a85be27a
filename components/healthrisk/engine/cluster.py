"""A Dask cluster: a connection to its scheduler, refused where other code would run, and work handed to its workers.

Dask itself starts the work of a worker that died on another one, up to `distributed.scheduler.allowed-failures` times.
Nothing that work needs lies on workers alone: what died with one is made or sent again.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import Client, Future, KilledWorker, Security, get_worker, rpc, wait
from distributed.scheduler import NoValidWorkerError, NoWorkerError
from distributed.versions import get_package_info

from healthrisk.config import settings
from healthrisk.engine.merge import merge
from healthrisk.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")
Versions = Mapping[str, str | None]

# What both ends speak, and what a result's bytes depend on; Python's version stands beside them.
_SPOKEN = ("dask", "distributed", "cloudpickle", "msgpack", "tornado")
_COMPUTING = ("healthrisk", "numpy", "scipy", "scikit-learn", "joblib", "onnxruntime", "pandas", "pyarrow")
_PACKAGES = (*_SPOKEN, *_COMPUTING)
# Tasks under way or waiting for each thread of a worker: none waits for its next one, and results stay few.
_AHEAD = 4
# A model's rows travel with the work that wants them; from 10 MB on Dask would complain.
_LARGE_GRAPH = "1 GiB"


class Cluster:
    """The workers of a cluster."""

    def __init__(self, address: str, client: Client) -> None:
        self._address, self._client, self._versions = address, client, _own_versions()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the function's result for each item, in the items' order; some tasks for each worker are under way.

        Raises:
            EngineError: the cluster went away, its workers died of a task, or one of them has other versions.
        """
        left, tasks = iter(items), deque[Future]()
        try:
            while True:
                room = max(1, _AHEAD * self.threads())
                tasks.extend(self.submit(function, item) for item in islice(left, max(0, room - len(tasks))))
                # Half of what can be under way: each question to the scheduler is asked for many tasks.
                first = [tasks.popleft() for _ in range(min(len(tasks), (room + 1) // 2))]
                if not first:
                    return
                yield from self.results(first)
        finally:
            self._client.cancel(list(tasks))

    def merge(
        self, function: Callable[[Item], Result], items: Iterable[Item], join: Callable[[Result, Result], Result]
    ) -> Result:
        """Return the function's results for all items as one, which is all that leaves the workers.

        Raises:
            EngineError: as of `map`.
            ValueError: there is no item.
        """
        joined = merge(self._tasks(function, items), lambda one, other: self.submit(_join, join, one, other))
        result: Result = self.results([joined])[0]
        return result

    def _tasks(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Future]:
        """Yield a task of each item; the next one waits where too many are under way."""
        under_way = deque[Future]()
        room = 0
        for item in items:
            if len(under_way) >= room:
                room = max(1, _AHEAD * self.threads())
                first = [under_way.popleft() for _ in range(len(under_way) // 2)]
                with self._client.as_current():
                    wait(first)
                # What is wrong with one need not wait for all others.
                self.results([task for task in first if task.status == "error"])
            under_way.append(self.submit(function, item))
            yield under_way[-1]

    def hidden(self, paths: list[str]) -> str:
        """Return the first path that is not the same file or folder here and for every worker, empty if all are."""
        answers = self._client.run(_identities, paths, on_error="return") if paths else {}
        for place, own in enumerate(_identities(paths)):
            if not own or any(isinstance(said, Exception) or said[place] != own for said in answers.values()):
                return paths[place]
        return ""

    def threads(self) -> int:
        """Return how many tasks can be worked on at once."""
        return sum(self._client.nthreads().values())

    def submit(self, function: Callable[..., object], *arguments: object) -> Future:
        """Let a worker call a function, on what becomes of any other task among its arguments."""
        return self._client.submit(_checked, self._versions, function, *arguments, pure=False)

    def keep(self, value: object) -> Future:
        """Return a task whose result is a value that several others want: it is sent once, and again if it is lost."""
        return self._client.submit(_same, value, pure=False)

    def results(self, tasks: list[Future]) -> list[Any]:
        """Wait for what becomes of tasks; what one of them raised is raised here.

        Raises:
            EngineError: nothing comes of one, for want of a cluster or of workers that survive it.
        """
        try:
            return list(self._client.gather(tasks))
        except KilledWorker as error:
            reason = f"{error.allowed_failures + 1} workers died of one task; they may lack memory"
            raise EngineError(f"{self._address}: {reason}") from error
        except (NoValidWorkerError, NoWorkerError) as error:
            raise EngineError(f"{self._address}: no worker is left to do the work") from error
        except CancelledError as error:
            raise EngineError(f"{self._address}: the Dask scheduler went away, and its work with it") from error


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Yield the cluster of the scheduler at tcp://HOST:PORT or tls://HOST:PORT, once it has a worker.

    Raises:
        EngineError: nobody answers there, no worker joins, or scheduler or workers have other versions.
    """
    asyncio.run(_ask_versions(address))
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": _LARGE_GRAPH}),
        Client(address, timeout=_patience(), set_as_default=False, security=_security()) as client,
    ):
        _wait_for_workers(address, client)
        yield Cluster(address, client)


async def _ask_versions(address: str) -> None:
    """Make sure that a scheduler answers, and that it and its workers run what this process does.

    A client would hang where something else answers, and say little where the scheduler is of another version.
    """
    try:
        async with asyncio.timeout(_patience()), _scheduler(address) as scheduler:
            its_own = await scheduler.versions(packages=list(_PACKAGES))
            workers = await scheduler.broadcast(msg={"op": "versions", "packages": list(_PACKAGES)}, on_error="ignore")
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error) or f"none has answered for {_patience():g} s"
        raise EngineError(f"HEALTHRISK_DASK {address!r}: no Dask scheduler answers there: {reason}") from error
    _refuse_others(f"the Dask scheduler at {address}", its_own["packages"], _own_versions())
    for name, worker in workers.items():
        _refuse_others(f"the worker {name} of {address}", worker["packages"], _own_versions())


def _scheduler(address: str) -> rpc:
    return rpc(address, timeout=_patience(), connection_args=_security().get_connection_args("client"))


def _security() -> Security:
    """Return whom this process believes, and who it is."""
    if (folder := settings().dask_certificates) is None:
        return Security()
    names = {"tls_ca_file": "ca.crt", "tls_client_cert": "tls.crt", "tls_client_key": "tls.key"}
    return Security(require_encryption=True, **{option: str(folder / name) for option, name in names.items()})


def _wait_for_workers(address: str, client: Client) -> None:
    try:
        client.wait_for_workers(1, timeout=_patience())
    except TimeoutError as error:
        raise EngineError(f"{address}: the Dask scheduler has no worker") from error


def _patience() -> float:
    return max(1.0, settings().retry_seconds)


def _own_versions() -> Versions:
    return dict(get_package_info(_PACKAGES))


def _refuse_others(who: str, theirs: Versions, ours: Versions) -> None:
    for name in ours:
        one, other = (_release(name, versions[name]) for versions in (theirs, ours))
        if one != other:
            raise EngineError(f"{who} has {name} {one or 'not at all'}, this process {other}: run both from one image")


def _release(name: str, version: str | None) -> str | None:
    """Return a version, of Python without what is fixed and not changed."""
    return ".".join(version.split(".")[:2]) if version and name == "python" else version


def _checked(versions: Versions, function: Callable[..., object], *arguments: object) -> object:
    """Call a function on a worker; one that joined late may have other versions."""
    _refuse_others(f"the worker {get_worker().address}", _own_versions(), versions)
    return function(*arguments)


def _join(join: Callable[[Result, Result], Result], one: Result, other: Result) -> Result:
    # It may alter the first one, from which it would be made again where a worker died.
    return join(copy.deepcopy(one), other)


def _identities(paths: list[str]) -> list[tuple[int, int] | None]:
    """Return by what a file or folder is known on any machine that has its disk."""
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            status = Path(path).stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns))
    return found


def _same(value: object) -> object:
    return value
