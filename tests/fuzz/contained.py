"""Servers as their containers hold them: each in a memory cgroup with the limit that its manifest gives it."""

from pathlib import Path
from typing import Any

import yaml

from tests.support.cgroup import MemoryGroup
from tests.support.servers import ROOT, Server

SERVICE = ROOT / "kserve" / "service" / "inference-service.yaml"
RUNTIME = ROOT / "kserve" / "runtime" / "serving-runtime.yaml"


def shipped_limit(script: str) -> int:
    """Return the memory that the container which runs a script may take, in bytes."""
    if script == "predictor.py":
        container = _container(yaml.safe_load(RUNTIME.read_text())["spec"])
    else:
        container = _container(yaml.safe_load(SERVICE.read_text())["spec"][script.removesuffix(".py")])
    limit: str = container["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) * 2**20


def _container(part: dict[str, Any]) -> dict[str, Any]:
    (container,) = part["containers"]
    chosen: dict[str, Any] = container
    return chosen


class Contained:
    """A server process and its cgroup.

    Raises:
        NoCgroupError: no cgroup can be made.
    """

    def __init__(self, script: str, bundle: Path, folder: Path, *options: str) -> None:
        self.limit = shipped_limit(script)
        self._group = MemoryGroup(script.removesuffix(".py"), self.limit)
        self.server = Server(script, bundle, folder / f"{script}.log", options).start()
        # Long before it has imported what takes memory.
        self._group.add(self.server.pid)

    def report(self) -> str:
        """Say what the server took."""
        return f"{self.server.script}: {self._group.peak() / 2**20:.0f} of {self.limit / 2**20:.0f} MiB at the most"

    def faults(self) -> list[str]:
        """Return what went wrong with the process."""
        assert self.server.process is not None
        script, ended, log = self.server.script, self.server.process.poll(), self.server.log.read_text()
        faults = [] if ended is None else [f"{script} ended with {ended}: {log[-2000:]}"]
        if kills := self._group.kills():
            faults.append(f"{script} was killed {kills} times for its memory")
        if "unexpected error" in log:
            faults.append(f"{script} had an unexpected error: {log[log.index('unexpected error') - 200 :][:4000]}")
        return faults

    def end(self) -> None:
        """End the process, and remove the cgroup."""
        self.server.end()
        self._group.remove()
