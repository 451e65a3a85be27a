"""An invented data set that trains in seconds, for tests that run the pipeline many times."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SPEC = Path(__file__).with_name("readmission.yaml")


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
    """The arguments that name the invented spec and a table of it."""
    path = tmp_path_factory.mktemp("own") / "readmissions.csv"
    readmissions(400, 0).to_csv(path, index=False)
    return "--dataset", str(SPEC), "--data", str(path)
