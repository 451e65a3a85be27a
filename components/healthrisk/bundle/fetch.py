"""Bring a bundle into a pod, verified: `python kserve/fetch_bundle.py URI DIGEST FOLDER`.

It is the init container of both servers, which so need no key of the object store.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.errors import HealthriskError


def main() -> int:
    """Copy the bundle; return the exit code."""
    uri, digest, folder = sys.argv[1:]
    try:
        with tempfile.TemporaryDirectory() as cache:
            bundle = store.fetch(uri, digest, Path(cache))
            # File by file: the folder is a volume's root, whose mode is not ours to change.
            for file in bundle.path.iterdir():
                shutil.copyfile(file, Path(folder) / file.name)
        Bundle.open(Path(folder), digest)
    except HealthriskError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
