"""Bring a bundle into a pod, verified: `python kserve/fetch_bundle.py URI DIGEST FOLDER`.

It is the init container of the servers, which so need no key of the object store. `--compared` brings the bundle of the
version that a challenger is compared with, too.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from healthrisk.bundle import Bundle, store
from healthrisk.errors import HealthriskError


def main() -> int:
    """Copy the bundles; return the exit code."""
    parser = argparse.ArgumentParser(description="Copy bundles into folders, verified.", allow_abbrev=False)
    parser.add_argument("uri", help="s3://BUCKET/PREFIX or file:///FOLDER")
    parser.add_argument("digest", help="of the bundle, as it was registered")
    parser.add_argument("folder", type=Path, help="an existing folder")
    words = ("URI", "DIGEST", "FOLDER")
    parser.add_argument("--compared", nargs=3, metavar=words, help="another one; where the address is empty, none")
    args = parser.parse_args()
    wanted = [(args.uri, args.digest, args.folder)]
    if args.compared and args.compared[0]:
        wanted.append((args.compared[0], args.compared[1], Path(args.compared[2])))
    try:
        for uri, digest, folder in wanted:
            _copy(uri, digest, folder)
    except HealthriskError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _copy(uri: str, digest: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        bundle = store.fetch(uri, digest, Path(cache))
        # File by file: the folder is a volume's root, whose mode is not ours to change.
        for file in bundle.path.iterdir():
            shutil.copyfile(file, folder / file.name)
    Bundle.open(folder, digest)
