"""JSON documents out of requests: weighed before they are parsed, with NaN as null and every key once.

What a body becomes in memory depends on what it holds: a byte of `[[[[` becomes a list of 90 bytes, a byte of a long
text one byte or four. `weight` bounds it by counts that cost a millisecond a megabyte; tests/serving/test_parsing.py
measures the forms that cost most against that bound.
"""

import gc
import json
from collections import Counter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from healthrisk.serving.errors import RequestError, bad_request, too_large

# Bytes that one parsed part takes at most, its place in a list or object included.
_LIST = 100
_OBJECT = 200
_TEXT = 56
_VALUE = 48
_MEMBER = 60
_PLAIN_BYTE = 3
# What no byte exceeds: one that begins an object, of a text that is copied.
_ANY_BYTE = 256
# A text with one character beyond the basic plane takes four bytes for each of its characters; NaN takes copies.
_COPIED_BYTE = 6
# Stands for the N of a NaN within a text while the others become null: no JSON text holds this character.
_MARK = b"\x00"
# Of one object, on an average over a text with many: hundreds of thousands of distinct keys in one take half a second.
_MOST_MEMBERS = 1024
_MANY_MEMBERS = 50_000
# In longer texts a key that is there twice is not looked for by name, which takes a second.
_NAMED_BYTES = 2**18


def weight(body: bytes) -> int:
    """Return how many bytes of memory parsing a JSON text takes at most, its result included."""
    copied = not body.isascii() or b"\\" in body or b"NaN" in body
    return (
        len(body) * (_COPIED_BYTE if copied else _PLAIN_BYTE)
        + (body.count(b",") + 1) * _VALUE
        + body.count(b":") * _MEMBER
        + body.count(b'"') // 2 * _TEXT
        + body.count(b"[") * _LIST
        + body.count(b"{") * _OBJECT
    )


def parse(body: bytes, max_weight: int) -> Any:
    """Parse JSON. The word NaN, which JSON has not but Python writes, is read as null.

    Raises:
        RequestError: the text is not JSON, names a key twice, or would take more than `max_weight` bytes of memory.
    """
    if len(body) * _ANY_BYTE > max_weight and (needed := weight(body)) > max_weight:
        raise too_large(f"the body would take {needed} bytes of memory, at most {max_weight} are allowed")
    colons = body.count(b":")
    if colons > _MANY_MEMBERS:
        members, objects = _count_outside(body, b":{")
        if members > objects * _MOST_MEMBERS:
            raise bad_request("json", f"the body's objects have more than {_MOST_MEMBERS} members each")
    try:
        document = _load(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body:
            raise _not_json(error) from None
        body = _without_nan(body)
        try:
            document = _load(body)
        except orjson.JSONDecodeError as still:
            raise _not_json(still) from None
    if colons != _members(document):
        _refuse_duplicates(body, document)
    return document


def _load(body: bytes) -> Any:
    """Parse JSON without the garbage collector, which would find nothing and take five times as long as the parser."""
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        gc.enable()


def _not_json(error: orjson.JSONDecodeError) -> RequestError:
    return bad_request("json", f"the body is not valid JSON: {error.msg} at byte {error.pos}")


def _without_nan(body: bytes) -> bytes:
    """Return a text with null for every NaN outside of its texts."""
    if _MARK in body:
        raise bad_request("json", "the body is not valid JSON: it holds control characters")
    outside, codes = _outside_texts(body), np.frombuffer(body, np.uint8)
    quoted = codes[:-2] == ord("N")
    quoted &= codes[1:-1] == ord("a")
    quoted &= codes[2:] == ord("N")
    quoted &= ~outside[:-2]
    if quoted.any():
        marked = codes.copy()
        marked[np.flatnonzero(quoted)] = ord(_MARK)
        body = marked.tobytes()
    return body.replace(b"NaN", b"null").replace(_MARK, b"N")


def _outside_texts(body: bytes) -> NDArray[np.bool_]:
    """Return which bytes [length] of a JSON text are not within one of its texts."""
    unescaped = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
    within: NDArray[np.bool_] = np.logical_xor.accumulate(np.frombuffer(unescaped, np.uint8) == ord('"'))
    return ~within


def _members(document: Any) -> int:
    """Count the members of objects where the protocols have objects."""
    if type(document) is not dict:
        return 0
    count = len(document)
    for member in document.values():
        for item in member if type(member) is list else (member,):
            if type(item) is not dict:
                break
            count += len(item)
            if type(parameters := item.get("parameters")) is dict:
                count += len(parameters)
    return count


def _refuse_duplicates(body: bytes, document: Any) -> None:
    """Refuse a text in which an object names a key twice: written again, its document has fewer colons."""
    try:
        again = orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise bad_request("json", "the body nests deeper than any request does") from None
    if _count_outside(again, b":") == _count_outside(body, b":"):
        return
    which = f"the key {_repeated(body)[:200]!r}" if len(body) <= _NAMED_BYTES else "a key"
    raise bad_request("json", f"the body names {which} twice in one object")


def _repeated(body: bytes) -> str:
    """Return the first key that an object names twice."""
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            repeated.append(Counter(name for name, _ in pairs).most_common(1)[0][0])

    json.loads(body, object_pairs_hook=collect, parse_int=bool, parse_float=bool, parse_constant=bool)
    return repeated[0]


def _count_outside(body: bytes, characters: bytes) -> list[int]:
    """Count characters outside of texts: a colon stands for each member of an object, a brace for each object."""
    outside, codes = _outside_texts(body), np.frombuffer(body, np.uint8)
    return [int(np.count_nonzero((codes == character) & outside)) for character in characters]
