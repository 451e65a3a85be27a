"""The same values have the same digest, other values or another key another one."""

import numpy as np
import pytest

from healthrisk.records.keyed_digest import KeyedDigest

KEY = KeyedDigest(b"one key, of thirty-two letters or more")
ROW = [63.0, 1.0, np.nan, 0.0]


def test_a_row_has_its_digest_whatever_stands_beside_it() -> None:
    alone = KEY.of(np.array([ROW]))
    among = KEY.of(np.array([[1.0, 2.0, 3.0, 4.0], ROW]))
    assert alone == among[1:]
    assert len(alone[0]) == 32


@pytest.mark.parametrize(
    "same",
    [
        np.array([[63.0, 1.0, np.nan, -0.0]]),
        np.array([[63.0, 1.0, -np.nan, 0.0]]),
        np.asfortranarray(np.array([ROW])),
        np.array([ROW], dtype=np.float32),
    ],
)
def test_equal_values_have_equal_digests(same: np.ndarray) -> None:
    assert KEY.of(same) == KEY.of(np.array([ROW]))


def test_the_rows_themselves_are_left_as_they_are() -> None:
    matrix = np.array([[-0.0, -np.nan]])
    KEY.of(matrix)
    assert np.signbit(matrix).all()


def test_each_value_and_its_place_count() -> None:
    digests = [
        KEY.of(np.array([row]))[0] for row in (ROW, [1.0, 63.0, np.nan, 0.0], [63.0, 1.0, 0.0, 0.0], [*ROW[:3], 1e-9])
    ]
    assert len(set(digests)) == 4


def test_another_key_gives_other_digests_and_another_name() -> None:
    other = KeyedDigest(b"another key, of thirty-two letters too")
    assert other.of(np.array([ROW])) != KEY.of(np.array([ROW]))
    assert other.key_id != KEY.key_id
