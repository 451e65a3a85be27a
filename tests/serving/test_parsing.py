"""What a body becomes in memory is known before it is parsed; what JSON leaves open is decided once."""

import contextlib
import sys

import pytest

from healthrisk.serving import parsing
from healthrisk.serving.admission import Limits
from healthrisk.serving.errors import RequestError
from tests.support import heavy, memory

# A fourth of what may come in: all of it takes memory in proportion to a body's length.
SIZE = Limits.max_body_bytes // 4
LIMIT = Limits.max_parsed_bytes // 4


FORMS = heavy.bodies(SIZE)


def take(body: bytes) -> None:
    """Parse a body whatever its weight."""
    with contextlib.suppress(RequestError):
        parsing.parse(body, sys.maxsize)


@pytest.fixture(scope="module")
def peaks() -> dict[str, int]:
    return memory.peaks("tests.serving.test_parsing")


@pytest.mark.parametrize("form", FORMS)
def test_memory_is_bounded_by_the_weight(form: str, peaks: dict[str, int]) -> None:
    assert peaks[form] <= parsing.weight(FORMS[form]) + 2**20


def test_a_full_table_may_come_in() -> None:
    """So many rows of thirteen numbers as may, and bodies of full size with rows as clients send them."""
    row = b"[63,1,3,145,233,1,0,150,0,2.3,0,0,1],"
    keys = b"age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal".split()
    instance = b"{" + b",".join(b'"%b":10' % key for key in keys) + b"},"
    for body in (b'{"data":[' + row * 25_000, heavy.repeated(SIZE, b"[", instance)):
        assert parsing.weight(body) <= LIMIT


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (b"[NaN, 1]", [None, 1]),
        (b'{"NaN": "NaN", "a": NaN}', {"NaN": "NaN", "a": None}),
        (rb'["\"NaN", NaN, "\\", NaN, "\\\"NaNaN"]', ['"NaN', None, "\\", None, '\\"NaNaN']),
        (b'{"a:b": ":", "c": {"d": ":"}}', {"a:b": ":", "c": {"d": ":"}}),
        (b'{"other": [{"a": [{"b": 1}]}, 2, {"c": 1}]}', {"other": [{"a": [{"b": 1}]}, 2, {"c": 1}]}),
    ],
)
def test_what_is_read(text: bytes, document: object) -> None:
    assert parsing.parse(text, LIMIT) == document


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"instances": [{"age": 1, "sex": 1, "age": 2}]}', "'age' twice"),
        (b'{"inputs": [{"parameters": {"x": 1, "x": 1}}]}', "'x' twice"),
        (b'{"a": NaN, "a": ":"}', "'a' twice"),
        (b'{"other": {"deep": [[{"b": 1, "b": 1}]]}}', "'b' twice"),
        (heavy.repeated(2**19, b"[", b'{"":0,"":0},'), "a key twice"),
        (b'{"a":' * 300 + b"0" + b"}" * 300, "nests deeper"),
        (b"[NaN", "not valid JSON"),
        (b'["NaN", NaN', "not valid JSON"),
        (b'"\x00NaN', "not valid JSON"),
        (b"[nan]", "not valid JSON"),
        (b"[Infinity]", "not valid JSON"),
        (b"[1e]", "not valid JSON"),
    ],
)
def test_what_is_refused(text: bytes, word: str) -> None:
    with pytest.raises(RequestError, match=word) as caught:
        parsing.parse(text, LIMIT)
    assert caught.value.status == 400


def test_an_object_of_very_many_keys_is_refused() -> None:
    """Half a second of nothing but keys; as many keys of many objects are rows."""
    with pytest.raises(RequestError, match="more than 1024 members each") as caught:
        parsing.parse(FORMS["distinct keys"], LIMIT)
    assert caught.value.status == 400
    rows = parsing.parse(FORMS["distinct keys of many objects"], LIMIT)
    assert {len(row) for row in rows} == {1000}


def test_weight_is_refused_as_too_large() -> None:
    with pytest.raises(RequestError, match="at most 1000 are allowed") as caught:
        parsing.parse(b"[" * 11, 1000)
    assert caught.value.status == 413
