"""What several tests share: a finished run of the real pipeline, and the commands to make one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """UCI's own files, which lie beside the project on some machines."""
    if not (SHARED / "data").is_dir():
        pytest.skip("UCI's files are not at hand")
    return SHARED / "data"


Pipeline = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """Run pipelines/train_pipeline.py as a user does, with its files in a given folder."""

    def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "pipelines/train_pipeline.py"), *arguments],
            check=False,
            env={**os.environ, "HEALTHRISK_HOME": str(home), **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Path:
    """A HEALTHRISK_HOME in which the pipeline has run once on the shipped heart data."""
    folder = tmp_path_factory.mktemp("healthrisk")
    done = pipeline(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "summary.txt").write_text(done.stdout)
    return folder
