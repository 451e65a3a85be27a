"""What several tests share: a finished run of the real pipeline, the command to make one, an invented data set."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.patience import run
from tests.support.servers import free_ports

pytest_plugins = ["tests.support.model_fixtures", "tests.support.serving_fixtures"]
ROOT = Path(__file__).parents[1]
SPEC = ROOT / "tests" / "support" / "readmission.yaml"


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def uci() -> Path:
    """The folder of UCI's own files."""
    return ROOT / "tests" / "support" / "uci"


@pytest.fixture
def port() -> int:
    """The first of six ports that can be listened on."""
    return free_ports(6)[0]


Pipeline = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """Run pipelines/train_pipeline.py as a user does, with its files in a given folder."""

    def train(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "pipelines/train_pipeline.py", *arguments]
        return run(command, env={**os.environ, "HEALTHRISK_HOME": str(home), **environment}, cwd=ROOT)

    return train


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Path:
    """A HEALTHRISK_HOME in which the pipeline has run once on the shipped heart data."""
    folder = tmp_path_factory.mktemp("healthrisk")
    done = pipeline(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "summary.txt").write_text(done.stdout)
    return folder


def readmissions(rows: int, seed: int) -> pd.DataFrame:
    """Invent patients: risk rises with age, nights and inflammation."""
    rng = np.random.default_rng(seed)
    years, nights = rng.integers(18, 100, rows), rng.exponential(6, rows).clip(0, 90).round(1)
    crp = rng.exponential(40, rows).clip(0, 500).round(1)
    ward = rng.choice(["medical", "surgical", "other"], rows)
    risk = 1 / (
        1 + np.exp(-(0.04 * (years - 60) + 0.15 * (nights - 6) + 0.01 * (crp - 40) - 0.5 * (ward == "surgical")))
    )
    outcome = np.where(rng.random(rows) < risk, "Y", "N")
    crp[rng.random(rows) < 0.1] = -1
    return pd.DataFrame({"years": years, "ward": ward, "nights": nights, "crp": crp, "readmitted": outcome})


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The arguments that name the invented spec, which trains in seconds, and a table of it."""
    path = tmp_path_factory.mktemp("own") / "readmissions.csv"
    readmissions(400, 0).to_csv(path, index=False)
    return "--dataset", str(SPEC), "--data", str(path)
