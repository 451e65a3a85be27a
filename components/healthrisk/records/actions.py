"""Who did what to a model: a line each in the record, in a segment of its own that is whole from its first moment.

Processes that act are many and short, so none keeps the chain's end for itself: each makes the next segment, and where
another was faster, the one after that.
"""

import logging
import re
from datetime import UTC, datetime

import orjson
from pydantic import ValidationError

from healthrisk.config import settings
from healthrisk.errors import HealthriskError, StoreError
from healthrisk.object_store import path_of
from healthrisk.records import actor, stored
from healthrisk.records.chain import now
from healthrisk.records.lines import START, ActionEvent, RecordError, Tail, chained, opening, tail_of
from healthrisk.records.places import Place, open_place
from healthrisk.records.stored import PLAIN, file_name

CHAIN = "actions"
_NAME = re.compile(rf"{CHAIN}-\d{{8}}T\d{{6}}Z")
_TRIES = 50
_log = logging.getLogger("healthrisk.actions")


def note(event: ActionEvent, model: str = "", version: str = "", digest: str = "", reason: str = "") -> None:
    """Write down that this process's actor did something, where HEALTHRISK_ACTIONS says. `reason` names no patient.

    Raises:
        StoreError: the place does not take it.
        RecordError: the chain there is damaged at its end.
    """
    address = settings().actions
    if not address.startswith("s3://"):
        try:
            path_of(address).mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"record {address}: {error}") from error
    action = {
        "time": now(),
        "event": event,
        "by": actor.current(),
        "model": model,
        "version": version,
        "digest": digest,
        "reason": reason,
    }
    _append(open_place(address), orjson.dumps(action))


def tell(event: ActionEvent, model: str = "", version: str = "", digest: str = "", reason: str = "") -> None:
    """Do as `note`; where that fails, say so in the log: what was done stays done."""
    try:
        note(event, model, version, digest, reason)
    except HealthriskError as error:
        _log.warning("%s of %s %s is not on record: %s", event, model, version, error)


def _append(place: Place, body: bytes) -> None:
    for _ in range(_TRIES):
        names = place.names(f"{CHAIN}-")
        begun = sorted({name.split("/")[0] for name in names if _NAME.fullmatch(name.split("/")[0])})
        # Its name says when it began, so that no other chain has it, even where this one is lost and made anew.
        chain = begun[-1] if begun else f"{CHAIN}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        tail = _tail(place, chain, names)
        number = 1 + (tail.segment if tail else 0)
        if place.create(file_name(chain, number, PLAIN), _segment(chain, number, tail, body)):
            return
    raise StoreError(f"record {chain}: others wrote there {_TRIES} times first")


def _tail(place: Place, chain: str, names: list[str]) -> Tail | None:
    if segments := stored.segments(names, place).get(chain):
        last = segments[-1]
        if tail := tail_of(last.number, last.data()):
            return tail
        raise RecordError(f"{last.name}: it has no line")
    carried = stored.carried_name(chain)
    if carried not in names:
        return None
    try:
        return Tail.model_validate_json(place.read(carried))
    except ValidationError:
        raise RecordError(f"{carried} does not say how the chain ends") from None


def _segment(chain: str, number: int, tail: Tail | None, body: bytes) -> bytes:
    first, last = chained(opening(chain, number, now(), "", tail), tail.digest if tail else START)
    second, last = chained(body, last)
    third, _ = chained(orjson.dumps({"time": now(), "sealed": 2}), last)
    return first + second + third
