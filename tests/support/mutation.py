"""Documents and bytes that are almost good."""

import copy
import json
import random
from typing import Any

JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    1e308,
    1.5,
    "",
    "x" * 300,
    "NaN",
    "5_0",
    "\N{GRINNING FACE}",
    [],
    {},
    [[]],
    [None],
    {"a": {"b": 1}},
    [[[[[[1]]]]]],
)


def mutate(document: Any, chance: random.Random, junk: Any = JUNK) -> None:
    """Replace, remove, double or nest one part of a document, in place."""
    place = document
    while place:
        key = chance.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
            place = inner
            continue
        action = chance.randrange(4)
        if action == 0:
            del place[key]
        elif action == 1 and isinstance(place, list):
            place.extend(copy.deepcopy(inner) for _ in range(chance.randrange(1, 20)))
        elif action == 2:
            place[key] = [inner]
        else:
            place[key] = copy.deepcopy(chance.choice(junk))
        return


def mutate_bytes(content: bytes, chance: random.Random, changes: int) -> bytes:
    """Return the bytes with so many of them changed."""
    mutated = bytearray(content)
    for _ in range(changes):
        mutated[chance.randrange(len(mutated))] = chance.randrange(256)
    return bytes(mutated)


def mutated_body(document: Any, chance: random.Random) -> bytes:
    """Return a document as JSON with a few parts changed, at times some bytes too, or something nested deep in it."""
    for _ in range(chance.randrange(1, 4)):
        mutate(document, chance)
    body = json.dumps(document).encode()
    if chance.random() < 0.3:
        body = mutate_bytes(body, chance, chance.randrange(1, 8))
    if chance.random() < 0.1:
        nested = chance.randrange(2000)
        body = body.replace(b"1", b"[" * nested + b"]" * nested, 1)
    return body
