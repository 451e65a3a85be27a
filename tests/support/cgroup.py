"""A memory cgroup, as a container has one, of version 1 or 2; making one takes root."""

import contextlib
import os
from pathlib import Path

from tests.support.patience import until

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


class NoCgroupError(Exception):
    """This user, or this kernel, can make no memory cgroup."""


class MemoryGroup:
    """A limit of memory for the processes that are added; they end before it does.

    Raises:
        NoCgroupError: none can be made; the message says why.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._v1 = (_V1 / "memory.limit_in_bytes").exists()
        self._path = (_V1 if self._v1 else _V2) / f"healthrisk-{name}-{os.getpid()}"
        try:
            self._path.mkdir()
        except OSError as error:
            raise NoCgroupError(f"no memory cgroup can be made here, which takes root: {error}") from None
        try:
            self._write("memory.limit_in_bytes" if self._v1 else "memory.max", limit)
            with contextlib.suppress(OSError):
                # A container has no swap to go to.
                self._write("memory.memsw.limit_in_bytes" if self._v1 else "memory.swap.max", limit if self._v1 else 0)
        except OSError as error:
            self._path.rmdir()
            raise NoCgroupError(f"no memory can be limited here, which takes its controller: {error}") from None

    def _write(self, file: str, value: int) -> None:
        (self._path / file).write_text(str(value))

    def add(self, pid: int) -> None:
        """Take in a process; what it takes from now on counts."""
        self._write("cgroup.procs", pid)

    def peak(self) -> int:
        """Return the most that was taken at once, in bytes; on an old kernel of version 2, what is taken now."""
        files = ("memory.max_usage_in_bytes", "memory.peak", "memory.current")
        file = next(self._path / name for name in files if (self._path / name).exists())
        return int(file.read_text())

    def kills(self) -> int:
        """Return how many processes were killed for what they took."""
        events = (self._path / ("memory.oom_control" if self._v1 else "memory.events")).read_text().split()
        return int(events[events.index("oom_kill") + 1])

    def remove(self) -> None:
        """Remove the group once its processes have ended."""
        until(self._removed)

    def _removed(self) -> bool:
        with contextlib.suppress(OSError):
            self._path.rmdir()
        return not self._path.exists()
