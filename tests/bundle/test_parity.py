"""One comparison decides whether an answer is the model's: of any engine, and never where it is no number."""

import numpy as np
import pytest

from healthrisk.bundle import parity
from healthrisk.errors import BundleError

EXPECTED = np.array([[0.2, 0.8], [0.5, 0.5]])


def test_answers_within_a_millionth_are_the_model_s() -> None:
    assert parity.check(EXPECTED + 1e-8, EXPECTED, "row", "the model") == pytest.approx(1e-8)
    assert parity.check(np.stack([EXPECTED, EXPECTED + 1e-8]), EXPECTED, "row", "the model") == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("answers", "row"),
    [
        (np.add(EXPECTED, [[0, 0], [1e-5, 0]]), 1),
        (np.add(EXPECTED, [[np.nan, 0], [0, 0]]), 0),
        (np.stack([EXPECTED, np.add(EXPECTED, [[0, 0], [0, 1e-5]])]), 1),
    ],
)
def test_another_answer_is_refused_by_its_row(answers: np.ndarray, row: int) -> None:
    with pytest.raises(BundleError, match=f"golden row {row} of 2 is answered .* away from what was trained"):
        parity.check(answers, EXPECTED, "golden row", "what was trained")
