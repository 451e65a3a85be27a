"""Functions of many items: called here, or by whoever a cluster has."""

import logging
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from healthrisk.config import settings
from healthrisk.engine.merge import merge

_log = logging.getLogger("healthrisk")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Tasks(Protocol):
    """What does work."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the function's result for each item, in the items' order; an item is read when its turn comes.

        The function stands at the top of a module and depends on its item alone: it may run in another process on
        another machine, and again where a worker died. What it raises is raised here.
        """

    def merge(
        self, function: Callable[[Item], Result], items: Iterable[Item], join: Callable[[Result, Result], Result]
    ) -> Result:
        """Return the function's results for all items as one, joined as `engine.merge` does, by whoever does the work.

        Raises:
            ValueError: there is no item.
        """


class InProcess:
    """This process."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the function's result for each item, each when it is asked for."""
        return map(function, items)

    def merge(
        self, function: Callable[[Item], Result], items: Iterable[Item], join: Callable[[Result, Result], Result]
    ) -> Result:
        """Return the function's results for all items as one."""
        return merge(map(function, items), join)


@contextmanager
def connect(*places: str | Path) -> Iterator[Tasks]:
    """Yield what does the work: this process, or the cluster that HEALTHRISK_DASK names.

    `places` are files and folders that the work reads or writes. One on a disk that workers do not have keeps the work
    in this process: a step's own folder on a cluster, say. What has an address, such as s3://, is everybody's.

    Raises:
        ConfigError: HEALTHRISK_DASK is no address.
        EngineError: the cluster is not there, or has other versions than this process.
    """
    if address := settings().dask:
        # Takes a second, and the package of an extra.
        from healthrisk.engine.cluster import connected

        with connected(address) as cluster:
            if hidden := cluster.hidden([path for path in map(_path_of, places) if path]):
                _log.info("workers of %s do not have %s: the work stays in this process", address, hidden)
            yield InProcess() if hidden else cluster
    else:
        yield InProcess()


def _path_of(place: str | Path) -> str:
    """Return the path of what lies on a disk, empty for what has an address."""
    parts = urllib.parse.urlsplit(str(place))
    if parts.scheme == "file":
        return urllib.request.url2pathname(parts.path)
    return "" if "://" in str(place) else str(place)
