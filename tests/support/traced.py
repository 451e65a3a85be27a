"""Commands whose attempts to reach anybody are recorded by strace."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import patience
from tests.support.servers import ROOT

# A server's between the bounds on gRPC and gRPC, and that of the processes a run forks its steps from.
_OWN_SOCKET = re.compile(r".*/(healthrisk-grpc-[^/]+/socket|pymp-[^/]+/listener-[^/]+)")
_ADDRESS = re.compile(
    r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"|sun_path=@?"([^"]+)"'
)


class Traced:
    """Commands of one user, whose files lie below `folder`. Their environment is a user's: no mark of a test or CI,
    where some libraries keep quiet, and a home that is empty. Where there is no strace nothing is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self.healthrisk_home = folder / "home", folder / "healthrisk"
        self.home.mkdir(parents=True, exist_ok=True)
        self._trace = folder / "trace"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        self._environment["HEALTHRISK_HOME"] = str(self.healthrisk_home)

    def start(self, *command: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command(command), env=self._environment, cwd=ROOT)

    def run(self, *command: object, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
        return patience.run(self._command(command), env=self._environment, cwd=cwd)

    def _command(self, command: tuple[object, ...]) -> list[Any]:
        python = [sys.executable, *map(str, command)]
        if shutil.which("strace") is None:
            return python
        trace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "--trace=connect,sendto,sendmsg,sendmmsg"]
        return [*trace, f"--output={self._trace}", *python]

    def attempts(self) -> set[tuple[str, int]]:
        """Return whom the last command tried to reach: address and port, or a socket's path and 0; without its own
        sockets.
        """
        lines = self._trace.read_text().splitlines()
        addresses = {match for line in lines for match in _ADDRESS.findall(line)}
        # The C library looks for a cache of users and groups there.
        return {
            (address or path, int(port or 0))
            for port, address, path in addresses
            if path != "/var/run/nscd/socket" and not _OWN_SOCKET.fullmatch(path)
        }

    def traces_left(self) -> list[str]:
        """Return what lies in the home, besides the list of fonts."""
        return [str(path) for path in self.home.rglob("*") if path.is_file() and "matplotlib" not in path.parts]
