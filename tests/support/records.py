"""Records made for tests, by the classes that servers use."""

from pathlib import Path

import orjson

from healthrisk.config import settings
from healthrisk.records import actor
from healthrisk.records.chain import Chain, now
from healthrisk.records.disk import DiskThread
from healthrisk.records.keyed_digest import KeyedDigest
from healthrisk.records.lines import Action, Entry, parse
from healthrisk.records.places import open_place
from healthrisk.records.search import find_actions
from healthrisk.records.stored import segments
from healthrisk.records.verify import Rules, verify

RECORD_KEY = "the-record's-key,-of-32-letters-or-more"
KEY = KeyedDigest(RECORD_KEY.encode())


def record_variables(folder: Path) -> dict[str, str]:
    """Return the environment of a server that writes a record below a folder, and receipts."""
    return {
        "HEALTHRISK_RECORDS": str(folder),
        "HEALTHRISK_RECORD_KEY": RECORD_KEY,
        "HEALTHRISK_RECEIPT_KEY": RECORD_KEY,
    }


def entries_in(folder: Path) -> list[Entry]:
    """Return the entries of a record that is whole, chain by chain."""
    place = open_place(str(folder))
    assert (verdict := verify(place, Rules())).whole, verdict
    chains = segments(place.names(), place).values()
    lines = (line for chain in chains for own in chain for line in own.data().split(b"\n")[:-1])
    return [one for one in map(parse, lines) if isinstance(one, Entry)]


def entry(number: int, receipts: tuple[str, ...] = ()) -> bytes:
    """Return a request's line as a server makes it, but for the digest of the line before; it is known by its input."""
    return orjson.dumps(
        {
            "time": now(),
            "asked": "predict",
            "caller": "ward-7",
            "model": "heart-disease",
            "digest": "d" * 64,
            "protocol": "v2",
            "rows": 1,
            "status": 200,
            "reason": None,
            "inputs": [f"{number:032x}"],
            "receipts": receipts,
        }
    )


def write_chain(folder: Path, numbers: range, a_segment: int = 5) -> None:
    """Go on with a chain: entries of these numbers, so many in a segment, the last of which is sealed as well."""
    disk = DiskThread(_raise)
    chain = Chain(folder, KEY.key_id, disk)
    for place, number in enumerate(numbers, 1):
        chain.append([entry(number)])
        if place % a_segment == 0:
            chain.seal()
    chain.release()
    disk.close()


def done_to(version: str, model: str = "heart-disease") -> list[tuple[str, str]]:
    """Return what is on record as done to a version here, in order: what, and why or how; the last of a chain last."""
    actions = find_actions(open_place(settings().actions), model=model, version=version).found
    assert {one.entry.by for one in actions if isinstance(one.entry, Action)} <= {actor.current()}
    # Who did something to a version knows its bytes.
    assert not version or all(one.entry.digest for one in actions)
    return [(one.entry.event, one.entry.reason) for one in actions if isinstance(one.entry, Action)]


def _raise(error: OSError) -> None:
    raise error
