"""Each request for a prediction or an explanation as a line of the record, before its answer leaves."""

import logging
import re
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
from prometheus_client import Counter

from healthrisk.config import WhenUnrecorded, settings
from healthrisk.errors import ConfigError
from healthrisk.receipts.token import number_of
from healthrisk.records.chain import now
from healthrisk.records.keyed_digest import KeyedDigest
from healthrisk.records.record import Record
from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.data_plane import Context, Served
from healthrisk.serving.errors import RequestError, unavailable

_log = logging.getLogger("healthrisk.record")
_QUIET_SECONDS = 1.0
# Digests of many rows are made beside the event loop: a thousand take it milliseconds.
_BYTES_PER_ROW = 256
_BEGAN = re.compile(r"\d{8}T\d{6}Z")
_LEFT = RequestError(499, "disconnected", "")
_UNRECORDED = "the record of use cannot be written, and nothing is answered that is not recorded"


class UseRecorder:
    """Writes one model's requests down, and counts those that it could not write down."""

    def __init__(
        self,
        model: Served,
        digest: str,
        record: Record,
        key: KeyedDigest,
        admission: AdmissionController,
        when_unrecorded: WhenUnrecorded,
    ) -> None:
        self._model, self._digest, self._record, self._key, self._admission = model, digest, record, key, admission
        self._when_unrecorded = when_unrecorded
        written = Counter("prediction_records_total", "Requests in the record of use.", ["model"])
        failed = Counter("prediction_records_failed_total", "Requests that were not written down.", ["model"])
        self._written, self._failed = written.labels(model.name), failed.labels(model.name)

    async def record(self, context: Context, failure: RequestError | None) -> RequestError | None:
        """Write a request down and return the error to answer with: the given one, if any, or that this failed."""
        line = await self._admission.work(context.rows * _BYTES_PER_ROW, lambda: self._line(context, failure))
        if await self._record.write(line):
            self._written.inc()
            return failure
        self._failed.inc()
        return unavailable("record_unavailable", _UNRECORDED) if self._when_unrecorded == "refuse" else failure

    def note_left(self, context: Context) -> None:
        """Write down a request whose client has gone, for which nobody waits."""
        self._record.note(self._line(context, _LEFT))

    def close(self) -> None:
        """Seal what was written."""
        self._record.close()

    def _line(self, context: Context, failure: RequestError | None) -> bytes:
        return orjson.dumps(
            {
                "time": now(),
                "asked": self._model.actions[0],
                "caller": context.caller or None,
                "model": self._model.name,
                "digest": self._digest,
                "protocol": context.protocol,
                "rows": context.rows,
                "status": failure.status if failure else 200,
                "reason": failure.reason if failure else None,
                "inputs": [] if context.matrix is None else self._key.of(context.matrix),
                "receipts": [number_of(receipt).hex() for receipt in context.receipts],
            }
        )


class _Complaints:
    """Says in the log that the record fails: once a second at most, for under load every request would."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, error: Exception) -> None:
        if (moment := time.monotonic()) >= self._quiet_until:
            self._quiet_until = moment + _QUIET_SECONDS
            _log.error("the record of use cannot be written: %s", error)


def from_settings(model: Served, digest: str, admission: AdmissionController) -> UseRecorder | None:
    """Return what writes a model's requests down, or None where HEALTHRISK_RECORDS names no folder.

    Raises:
        ConfigError: there is no key, another process writes this model's record here, or the folder cannot be used.
        RecordError: what was written before is damaged at its end.
    """
    given = settings()
    if given.records is None:
        return None
    if not given.record_keys:
        raise ConfigError("HEALTHRISK_RECORD_KEY is missing: HEALTHRISK_RECORDS needs the key of its digests")
    key = KeyedDigest(given.record_keys[0])
    record = Record(_chain(given.records, model), key.key_id, _Complaints())
    return UseRecorder(model, digest, record, key, admission, given.when_unrecorded)


def _chain(folder: Path, model: Served) -> Path:
    """Return the folder of the chain that a server on this host goes on with, or begins.

    Its name says when it began, so that no other chain has it, even where this folder is lost and made anew.
    """
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{model.name}-{type(model).__name__.lower()}-{socket.gethostname()}")
    begun = sorted(path for path in folder.glob(f"{name}-*") if _BEGAN.fullmatch(path.name.removeprefix(f"{name}-")))
    return begun[-1] if begun else folder / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
