"""Bad input ends a run with one line that says what is wrong, a non-zero exit, and nothing left behind.

tests/data has the faults that a table may have; here they come through all processes of a run.
"""

from pathlib import Path

import pandas as pd
import pytest

from healthrisk import datasets
from tests.support.runs import Pipeline

FRAME = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", dtype=str)


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(csv(FRAME.assign(age="old")), "row 1: age is 'old', expected a whole", id="refused by ingest"),
        pytest.param(csv(FRAME.assign(num=1 - FRAME["num"].astype(int))), "looks inverted", id="refused by validate"),
        pytest.param(None, "is a directory", id="a directory"),
    ],
)
def test_bad_data_is_one_line_and_leaves_nothing(
    content: bytes | None, says: str, tmp_path: Path, pipeline: Pipeline
) -> None:
    given = tmp_path / "given.csv"
    if content is None:
        given.mkdir()
    else:
        given.write_bytes(content)
    done = pipeline(tmp_path / "home", "--data", str(given))
    assert done.returncode == 1
    assert done.stderr.startswith("error: step '")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
