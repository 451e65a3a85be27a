"""What a signature costs a server that starts: `python -m tests.benchmarks.signing BUNDLE [--starts N]`.

Processes that have imported what opens a bundle open a copy of it, by turns with a public key and without one; what is
compared is the time from there on, in which what verifies is imported, too.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from healthrisk.bundle import Bundle
from tests.support.signing import key_pair

OPEN = """
import sys, time
from pathlib import Path
from healthrisk.bundle import Bundle
begun = time.perf_counter()
opened = Bundle.open(Path(sys.argv[1]))
print(time.perf_counter() - begun, opened.signature)
"""


def main() -> None:
    """Print the medians in milliseconds, and the median of the differences of neighbours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--starts", type=int, default=10, help="of each kind (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(args.bundle, Path(folder) / "bundle"))
        Bundle.open(copy).sign(key_pair().private)
        pairs = [(opened(copy, {}), opened(copy, key_pair().believes)) for _ in range(args.starts)]
    plain, verified = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
    more = 1000 * statistics.median(one - other for other, one in pairs)
    print(f"opened in {plain:.1f} ms, verified in {verified:.1f} ms: {more:.1f} ms more")


def opened(folder: Path, keys: dict[str, str]) -> float:
    """Return the seconds that a new process takes to open a bundle."""
    command = [sys.executable, "-c", OPEN, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | keys)
    seconds, said = done.stdout.split(" ", 1)
    assert said.startswith("signed by ") == bool(keys), said
    return float(seconds)


if __name__ == "__main__":
    main()
