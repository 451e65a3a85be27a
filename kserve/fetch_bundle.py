"""Bring a bundle into a pod, verified: `python kserve/fetch_bundle.py URI DIGEST FOLDER`."""

import sys

from healthrisk.bundle.fetch import main

if __name__ == "__main__":
    sys.exit(main())
