"""Where a model came from: the code's revision and the versions of what computed it."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from healthrisk.bundle.manifest import CodeOrigin
from healthrisk.config import settings

PACKAGES = ("healthrisk", "numpy", "scipy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "joblib")


def code_origin() -> CodeOrigin:
    """Return the revision and the versions of the code that runs."""
    return CodeOrigin(git_revision=git_revision(), versions=versions())


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that shapes a model."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_revision() -> str:
    """Return the revision this code runs from, with `-dirty` where files differ from it, or `unknown`.

    An image has no work tree and names its revision in HEALTHRISK_REVISION.
    """
    if revision := settings().revision:
        return revision
    here = Path(__file__).parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        return f"{revision}-dirty" if _git(here, "status", "--porcelain", "--untracked-files=no") else revision
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=10)  # noqa: S607
    return done.stdout.strip()
