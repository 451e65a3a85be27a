"""Bad input ends a run with one line that says what is wrong, a non-zero exit, and nothing left behind.

tests/data has the faults that a table may have; here they come through all processes of a run.
"""

from pathlib import Path

import pandas as pd
import pytest

from healthrisk import datasets
from tests.support.runs import Pipeline, check_refused

FRAME = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", dtype=str)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        pytest.param(FRAME.assign(age="old"), "row 1: age is 'old', expected a whole", id="refused by ingest"),
        pytest.param(FRAME.assign(num=1 - FRAME["num"].astype(int)), "looks inverted", id="refused by validate"),
    ],
)
def test_bad_data_is_one_line_and_leaves_nothing(
    table: pd.DataFrame, says: str, tmp_path: Path, pipeline: Pipeline
) -> None:
    given = tmp_path / "given.csv"
    table.to_csv(given, index=False)
    done = pipeline(tmp_path / "home", "--data", str(given))
    check_refused(done, tmp_path / "home", says)
