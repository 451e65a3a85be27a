"""One inference request on its way through a server: admitted, answered or refused, counted and logged.

REST and gRPC both come through here, so that they share limits, metrics and logs.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from healthrisk.serving import codec
from healthrisk.serving.admission import LARGE_BYTES, AdmissionController
from healthrisk.serving.answers import V1Answer
from healthrisk.serving.errors import RequestError
from healthrisk.serving.logs import REQUESTS, LogFields
from healthrisk.serving.metrics import ServerMetrics
from healthrisk.serving.reader_process import ReaderProcess
from healthrisk.serving.reading import Readable
from healthrisk.serving.tensors import Matrix, Request, Response
from healthrisk.serving.tracing import SLOW_SECONDS, Tracer

Answer = TypeVar("Answer")
# What no client of the protocol sends, and a scanner sends by the thousand: one line a second is enough.
_FLOODS = frozenset({"undecodable", "not_found"})
_QUIET_SECONDS = 1.0


@dataclass(slots=True)
class Context:
    """What a request brings besides its body. `traceparent` and `tracestate` are the W3C headers, valid or empty.

    `size` is what the request holds of the server's memory, in bytes; `rows` are known once it has been read.
    """

    protocol: str
    request_id: str = ""
    traceparent: str = ""
    tracestate: str = ""
    size: int = 0
    rows: int = 0
    # Who asks, as the gateway says; empty where nobody is known.
    caller: str = ""
    # What the record has the digests of.
    matrix: Matrix | None = None
    receipts: Sequence[str] = ()
    # What a protocol keeps of the request until it is answered.
    kept: int = 0
    admission: AdmissionController | None = None

    def read(self, matrix: Matrix) -> None:
        """Take note of a request's rows once they have been read."""
        self.rows, self.matrix = len(matrix), matrix

    def hold(self, size: int) -> None:
        """Count bytes that this request holds until it is answered.

        Raises:
            RequestError: 503, all requests together hold too many.
        """
        self.size += size
        if self.admission is not None:
            self.admission.hold(size)

    def hold_instead(self, size: int) -> None:
        """Count so many bytes in place of those held before, which are given back but for those that are kept.

        Raises:
            RequestError: as for `hold`.
        """
        self.hold(self.kept + size - self.size)


class Served(Readable, Protocol):
    """A model behind the protocols."""

    # What requests ask for, as v1 and v2 name it in their paths.
    actions: tuple[str, str]
    # Whether an answer takes so long that nobody may wait for it any more.
    stops_when_unheard: bool

    async def infer(self, matrix: Matrix, request_id: str | None, context: Context) -> Response:
        """Answer a v2 request whose matrix this is."""
        ...

    async def predict_v1(self, matrix: Matrix, context: Context) -> V1Answer:
        """Answer a v1 request whose matrix this is."""
        ...


class Recorder(Protocol):
    """Who writes down each request before it is answered."""

    async def record(self, context: Context, failure: RequestError | None) -> RequestError | None:
        """Write a request down and return the error to answer with: the given one, if any, or that this failed."""
        ...

    def note_left(self, context: Context) -> None:
        """Write down a request whose client has gone, for which nobody waits."""
        ...


class DataPlane:
    """Wraps whatever answers requests in what every request gets, over REST and gRPC."""

    def __init__(
        self,
        model: Served,
        admission: AdmissionController,
        metrics: ServerMetrics,
        tracer: Tracer,
        reader: ReaderProcess,
        recorder: Recorder | None = None,
    ) -> None:
        self.model, self.admission, self.metrics = model, admission, metrics
        self._tracer, self._reader, self._recorder = tracer, reader, recorder
        self._quiet_until = 0.0

    async def read(self, name: str, raw: bytes, json_length: int | None = None) -> tuple[Request, Matrix]:
        """Return what the protocol of this name reads in a body; a large one is read by a process of its own.

        Raises:
            RequestError: the body is refused.
        """
        if len(raw) <= LARGE_BYTES or codec.is_plain(raw, json_length):
            return self._reader.reads[name](raw, json_length)
        return await self.admission.alone(len(raw), lambda: self._reader.read(name, raw, json_length))

    async def run(
        self, context: Context, handle: Callable[[Context], Awaitable[Answer]]
    ) -> tuple[Answer | None, RequestError | None]:
        """Return the handler's answer, or the error to send instead. Never raises, whatever the handler does."""
        start = time.perf_counter()
        answer, failure = None, None
        context.admission = self.admission
        try:
            self.admission.enter()
            self.metrics.in_flight.inc()
            try:
                with self._tracer.span(context):
                    answer = await handle(context)
            finally:
                self.admission.leave(context.size)
                self.metrics.in_flight.dec()
        except asyncio.CancelledError:
            self.metrics.refused(context.protocol, 499)
            if self._recorder:
                self._recorder.note_left(context)
            raise
        except RequestError as error:
            failure = error.without_traceback()
            self.metrics.rejected(error.reason)
        except Exception:  # noqa: BLE001 - the last line of defence; what it was is logged without its message
            REQUESTS.exception("unexpected error", extra=self._fields(context))
            failure = RequestError(500, "internal", "internal error; the server's log has the place")
            self.metrics.rejected("internal")
        if self._recorder:
            unrecorded = await self._recorder.record(context, failure)
            if unrecorded is not failure and unrecorded is not None:
                self.metrics.rejected(unrecorded.reason)
            failure = unrecorded
        self._record(context, failure, time.perf_counter() - start)
        return answer, failure

    def refused(self, protocol: str, code: int, reason: str) -> None:
        """Count a request that was refused before it was known what it asks of the model; log one a second at most."""
        self.metrics.refused(protocol, code)
        self.metrics.rejected(reason)
        self._log_refusal({"protocol": protocol, "code": code, "reason": reason})

    def _log_refusal(self, extra: LogFields) -> None:
        if (now := time.monotonic()) >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            REQUESTS.warning("request refused", extra=extra)

    def _record(self, context: Context, failure: RequestError | None, seconds: float) -> None:
        code = failure.status if failure else 200
        self.metrics.answered(context.protocol, code, seconds, context.rows)
        # Under overload a line for each refusal would make it worse; they are in the metrics.
        if failure and failure.reason != "overloaded":
            extra = self._fields(context) | {"code": code, "reason": failure.reason, "ms": round(seconds * 1000, 3)}
            if failure.reason in _FLOODS:
                self._log_refusal(extra)
            else:
                REQUESTS.warning("request refused", extra=extra)
        elif seconds >= SLOW_SECONDS or REQUESTS.isEnabledFor(logging.DEBUG):
            level, message = (
                (logging.INFO, "request was slow") if seconds >= SLOW_SECONDS else (logging.DEBUG, "request answered")
            )
            REQUESTS.log(level, message, extra=self._fields(context) | {"code": code, "ms": round(seconds * 1000, 3)})

    def _fields(self, context: Context) -> LogFields:
        context.request_id = context.request_id or str(uuid.uuid4())
        trace_id = context.traceparent.split("-")[1] if context.traceparent else None
        return {
            "request_id": context.request_id,
            "trace_id": trace_id,
            "protocol": context.protocol,
            "model": self.model.name,
            "version": self.model.version,
        }
