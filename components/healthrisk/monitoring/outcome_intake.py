"""Outcomes come back: each is held against its receipt and its version's spec, and counted once."""

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from healthrisk.bundle import Bundle
from healthrisk.data.rules import NUMBER
from healthrisk.monitoring.outcome_store import Arrival, Cell, OutcomeStore
from healthrisk.receipts import probability_bins
from healthrisk.receipts.groups import SensitiveGroups
from healthrisk.receipts.token import Reader, Receipt, ReceiptError
from healthrisk.serving.errors import shown
from healthrisk.spec.outcome import Target

# Clocks differ, and a date has no time zone.
_TOLERANCE = datetime.timedelta(days=1)
_NUMBER = re.compile(NUMBER)
OpenVersion = Callable[[str, str], Bundle]


@dataclass(frozen=True, slots=True)
class Returned:
    """A receipt that comes back with the outcome as the spec's table writes it, and when it was observed."""

    receipt: Any
    outcome: Any
    observed_at: Any = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was done with a returned outcome; `kind` names why it was refused in a word, `reason` says it."""

    result: Literal["counted", "repeated", "refused"]
    kind: str = ""
    reason: str = ""


class _RefusedError(Exception):
    """This outcome is not counted."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class OutcomeIntake:
    """Takes returned outcomes. `open_version` gives the bundle of a model's name and digest."""

    def __init__(self, store: OutcomeStore, keys: tuple[bytes, ...], open_version: OpenVersion) -> None:
        self._store, self._reader = store, Reader(keys)
        self._version = cache(lambda model, digest: _Version(open_version(model, digest)))

    def take(self, returned: Sequence[Returned]) -> list[Ruling]:
        """Count outcomes in one transaction; return what was done with each, in their order.

        Raises:
            StoreError: the database, or the store of a version's bundle, does not answer: nothing was counted.
        """
        now = datetime.datetime.now(datetime.UTC)
        readings = [self._read_or_refuse(one, now) for one in returned]
        arrivals: dict[bytes, Arrival] = {}
        for reading in readings:
            if isinstance(reading, Arrival):
                arrivals.setdefault(reading.number, reading)
        before = self._store.add(arrivals)
        return [_rule(reading, arrivals, before) for reading in readings]

    def _read_or_refuse(self, one: Returned, now: datetime.datetime) -> Arrival | Ruling:
        try:
            return self._read(one, now)
        except _RefusedError as error:
            return Ruling("refused", error.kind, str(error))

    def _read(self, one: Returned, now: datetime.datetime) -> Arrival:
        if not isinstance(one.receipt, str):
            raise _RefusedError("receipt", "receipt is missing, expected the text that came with the prediction")
        try:
            receipt = self._reader.read(one.receipt.strip())
        except ReceiptError as error:
            raise _RefusedError("receipt", f"receipt: {error}") from None
        version = self._version(receipt.model, receipt.digest)
        position = class_position(version.target, one.outcome)
        _check_time(one.observed_at, receipt, now)
        return Arrival(receipt.number, position, tuple(version.cells(receipt, position, now.date())))


class _Version:
    """What of a version's bundle counting needs."""

    def __init__(self, bundle: Bundle) -> None:
        self._spec, self._groups = bundle.spec, SensitiveGroups(bundle.spec, bundle.reference).names
        self.target = bundle.spec.target

    def cells(self, receipt: Receipt, position: int, arrived: datetime.date) -> list[Cell]:
        """Return the cells in which an outcome counts: for everybody and for each group, each label's."""
        at = datetime.datetime.fromtimestamp(receipt.hour * 3600, datetime.UTC)
        groups = [("", "")] + [
            (column, names[place]) for (column, names), place in zip(self._groups.items(), receipt.groups, strict=True)
        ]
        judgements = zip(
            probability_bins.labels(self._spec),
            receipt.bins,
            probability_bins.happened(self._spec, position),
            strict=True,
        )
        return [
            Cell(receipt.model, receipt.digest, f"{at:%Y-%m}", arrived, column, group, label, place, came_true)
            for label, place, came_true in judgements
            for column, group in groups
        ]


def class_position(target: Target, outcome: Any) -> int:
    """Return the class position of an outcome as the spec's table writes it; a whole number may come as a text.

    Raises:
        _RefusedError: the spec has no such outcome.
    """
    value = outcome
    if not target.is_text and isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # JSON's true is no 1.
    position = target.index.get(value) if type(value) in {int, str} else None
    if position is None:
        allowed = ", ".join(map(str, target.index))
        given = shown(None if outcome == "" else outcome)
        raise _RefusedError("outcome", f"outcome is {given}, expected one of {allowed}")
    return position


def _check_time(given: Any, receipt: Receipt, now: datetime.datetime) -> None:
    """Refuse an outcome that was observed before its prediction was made, or has not been yet."""
    if given is None or given == "":
        return
    observed = given
    if isinstance(given, str):
        try:
            observed = datetime.datetime.fromisoformat(given.strip())
        except ValueError:
            raise _RefusedError("observed_at", f"observed_at is {given[:40]!r}, expected as in 2026-11-30") from None
    if isinstance(observed, datetime.date) and not isinstance(observed, datetime.datetime):
        observed = datetime.datetime(observed.year, observed.month, observed.day, tzinfo=datetime.UTC)
    if not isinstance(observed, datetime.datetime):
        raise _RefusedError("observed_at", f"observed_at is {shown(given)}, expected a date")
    observed = observed if observed.tzinfo else observed.replace(tzinfo=datetime.UTC)
    predicted = datetime.datetime.fromtimestamp(receipt.hour * 3600, datetime.UTC)
    if observed < predicted - _TOLERANCE:
        raise _RefusedError("observed_at", "observed_at lies before the prediction")
    if observed > now + _TOLERANCE:
        raise _RefusedError("observed_at", "observed_at lies in the future")


def _rule(reading: Arrival | Ruling, arrivals: dict[bytes, Arrival], before: dict[bytes, int]) -> Ruling:
    """Say what was done with one of several: `arrivals` are the first of each receipt, `before` was counted earlier."""
    if isinstance(reading, Ruling):
        return reading
    first = arrivals[reading.number]
    if reading is first and reading.number not in before:
        return Ruling("counted")
    if before.get(reading.number, first.outcome) == reading.outcome:
        return Ruling("repeated")
    return Ruling("refused", "contradiction", "this receipt was counted with another outcome")
