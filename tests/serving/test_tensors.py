"""Binary tensors: no more is read of one than its shape announces."""

import pytest

from healthrisk.serving import tensors
from healthrisk.serving.errors import RequestError


@pytest.mark.parametrize(
    ("shape", "raw", "message"),
    [
        # Millions of texts behind a shape of one row: refused before they are read.
        ([1], b"\x00\x00\x00\x00" * 10, "36 bytes follow its 1 texts"),
        ([3], b"\x01\x00\x00\x00a\x00\x00\x00\x00", "9 bytes do not hold 3 texts"),
        ([2], b"\x04\x00\x00\x00abcd", "1 texts do not fill 2 places"),
        ([1], b"\x05\x00\x00\x00abcd", "ends within a text"),
        ([1], b"\x01\x00\x00\x00\xff", "not a list of UTF-8 texts"),
    ],
)
def test_texts_that_are_not_of_the_shape(shape: list[int], raw: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        tensors.from_bytes("smoker", "BYTES", shape, raw)
    assert caught.value.status == 400


def test_texts_behind_their_lengths() -> None:
    assert tensors.from_bytes("smoker", "BYTES", [2, 1], b"\x02\x00\x00\x00no\x03\x00\x00\x00yes") == ["no", "yes"]


def test_a_tensor_of_more_values_than_any_request_has() -> None:
    with pytest.raises(RequestError, match="'age' has 200 values, at most 199 are allowed") as caught:
        tensors.check_count("age", [100, 2], 199)
    assert caught.value.status == 413
