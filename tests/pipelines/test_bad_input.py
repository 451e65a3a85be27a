"""Bad input ends a run with one line that says what is wrong, a non-zero exit, and nothing left behind."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from healthrisk import datasets

Pipeline = Callable[..., subprocess.CompletedProcess[str]]
FRAME = pd.read_csv(Path(datasets.__path__[0]) / "heart-disease.csv", dtype=str)


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def kaggle() -> pd.DataFrame:
    frame = FRAME.replace("?", "0")
    recoded = {
        "cp": frame["cp"].astype(int) - 1,
        "slope": frame["slope"].astype(int) - 1,
        "thal": frame["thal"].map({"0": 0, "3": 2, "6": 1, "7": 3}),
        "num": 1 - frame["num"].astype(int),
    }
    return frame.assign(**recoded).rename(columns={"num": "target"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "is empty", id="empty file"),
        pytest.param(csv(FRAME.head(0)), "has no rows", id="header only"),
        pytest.param(csv(FRAME.rename(columns={"chol": "ldl"})), "lacks column 'chol'", id="wrong columns"),
        pytest.param(csv(FRAME[["age"]]), "lacks column 'sex'", id="one column"),
        pytest.param(csv(FRAME.assign(num="0")), "no row has the outcome 'disease'", id="one class"),
        pytest.param(csv(FRAME.assign(thal="?")), "thal is missing in every row", id="a column without values"),
        pytest.param(csv(FRAME.head(2)), "2 rows; at least 100 are expected", id="two rows"),
        pytest.param(csv(FRAME).replace(b"63", b"6\xe9", 1), "not UTF-8", id="not UTF-8"),
        pytest.param(csv(kaggle()), "this is the Kaggle recoding of the UCI heart data", id="Kaggle coding"),
        pytest.param(csv(FRAME.assign(num=1 - FRAME["num"].astype(int))), "looks inverted", id="inverted outcome"),
        pytest.param(csv(FRAME.assign(age="old")), "row 1: age is 'old', expected a whole", id="words"),
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
