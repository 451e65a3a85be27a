"""Bring a bundle into a pod, verified: `python kserve/fetch_bundle.py URI DIGEST FOLDER`.

It is the init container of both servers, which so need no key of the object store.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.errors import HealthriskError


def main() -> int:
    """Copy the bundle; return the exit code."""
    parser = argparse.ArgumentParser(description="Copy a bundle into a folder, verified.", allow_abbrev=False)
    parser.add_argument("uri", help="s3://BUCKET/PREFIX or file:///FOLDER")
    parser.add_argument("digest", help="of the bundle, as it was registered")
    parser.add_argument("folder", type=Path, help="an existing folder")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as cache:
            bundle = store.fetch(args.uri, args.digest, Path(cache))
            # File by file: the folder is a volume's root, whose mode is not ours to change.
            for file in bundle.path.iterdir():
                shutil.copyfile(file, args.folder / file.name)
        Bundle.open(args.folder, args.digest)
    except HealthriskError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
