"""How much memory a call takes at the most: `python -m tests.support.memory MODULE` measures all of a module's FORMS.

Each form is given to the module's `take` in a process forked for it, which has nothing to reuse.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support import patience

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peaks(module: str) -> dict[str, int]:
    """Return by how many bytes the memory of a process grows, for each form."""
    done = patience.run([sys.executable, "-m", "tests.support.memory", module])
    assert done.returncode == 0, done.stderr
    measured: dict[str, int] = json.loads(done.stdout)
    return measured


def _growth(take: Callable[[bytes], None], form: bytes) -> int:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        # Makes the present size the peak that is measured from.
        _CLEAR_REFS.write_text("5")
        before = _peak()
        take(form)
        os.write(writer, str(_peak() - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        grown = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return int(grown)


def _peak() -> int:
    return int(_STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    measured = importlib.import_module(sys.argv[1])
    # All are made before the first is measured, so that none reuses what making another has freed.
    forms = dict(measured.FORMS)
    print(json.dumps({name: _growth(measured.take, form) for name, form in forms.items()}))
