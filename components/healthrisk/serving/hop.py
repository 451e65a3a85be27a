"""The hop from transformer to predictor: v2 over HTTP with binary tensors, rows of several requests in one call.

Rows of requests that arrive together go together: what is asked within one turn of the event loop is one call, and so
is what is asked while two calls are under way. Under load the hop's cost is so shared by several requests; alone, a
request waits for nothing. A request with a trace context goes by itself, so that its trace stays its own.

A request that reaches a predictor of another version is sent again: while predictors roll, a new connection may lead to
an old one.
"""

import asyncio
import itertools
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from healthrisk.serving.errors import RequestError, unavailable
from healthrisk.serving.predictor_connections import Answer, ConnectionLostError, ConnectionPool, PredictorAddress

_SHARED_ROWS = 256
# With two calls under way the predictor always has work, and those who ask meanwhile wait for the first answer, ...
_CALLS_UNDER_WAY = 2
# ... but for no longer, as those two may be large, or their predictor slow.
_WAIT_SECONDS = 0.002
# Larger tables go in pieces, between which the predictor answers others: a forest takes 3 ms for a thousand rows.
_CALL_ROWS = 4096
# With half of the replicas rolled, one request in 64 meets none of its version.
_VERSION_ATTEMPTS = 6
# Of an answer's headers and JSON.
_MOST_HEAD_BYTES = 2**14
# What float32 leaves of a sum of probabilities, and of a bound.
_SUM_TOLERANCE = 1e-4
_BOUND_TOLERANCE = 1e-6
_FEW_ROWS = 8


@dataclass(slots=True)
class _Waiting:
    """Model inputs [rows, width], and where their probabilities are awaited."""

    inputs: NDArray[np.float32]
    answer: asyncio.Future[NDArray[np.float32]]


class PredictorClient:
    """Asks a predictor for the probabilities of model inputs [rows, width]."""

    def __init__(self, address: PredictorAddress, model: str, version: str, classes: int) -> None:
        self._address = address
        self._classes = classes
        self._calls_made = itertools.count(1)
        # Asking for the version makes a predictor that serves another one refuse, instead of scoring inputs made
        # for a different model.
        self._start = (
            f"POST /v2/models/{model}/versions/{version}/infer HTTP/1.1\r\n"
            f"host: {address.host}:{address.port}\r\ncontent-type: application/octet-stream\r\n"
        ).encode()
        self._connections = ConnectionPool(address)
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Handle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def probabilities(
        self, inputs: NDArray[np.float32], traceparent: str = "", tracestate: str = ""
    ) -> NDArray[np.float32]:
        """Return class probabilities [rows, classes].

        Raises:
            RequestError: 503 if the predictor cannot be reached or refuses, 504 if it does not answer in time.
        """
        if traceparent:
            state = f"tracestate: {tracestate}\r\n" if tracestate else ""
            return await self._call(inputs, f"traceparent: {traceparent}\r\n{state}".encode())
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[NDArray[np.float32]] = loop.create_future()
        if not self._waiting:
            self._flushing = (
                loop.call_soon(self._flush)
                if len(self._calls) < _CALLS_UNDER_WAY
                else loop.call_later(_WAIT_SECONDS, self._flush)
            )
        self._waiting.append(_Waiting(inputs, answer))
        try:
            return await answer
        finally:
            # As in exchange(): a frame that refers to its own exception is freed late.
            del answer

    def _flush(self) -> None:
        """Send what is waiting, in calls of at most `_SHARED_ROWS` rows unless one request alone has more."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            rows, taken = len(waiting[0].inputs), 1
            while taken < len(waiting) and rows + len(waiting[taken].inputs) <= _SHARED_ROWS:
                rows += len(waiting[taken].inputs)
                taken += 1
            call = asyncio.ensure_future(self._send_batch(waiting[:taken]))
            self._calls.add(call)
            call.add_done_callback(self._end_call)
            waiting = waiting[taken:]

    def _end_call(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting and self._flushing is not None:
            self._flushing.cancel()
            self._flush()

    async def _send_batch(self, batch: list[_Waiting]) -> None:
        """Make one call for several requests, and give each its rows, or an error of its own."""
        inputs = batch[0].inputs if len(batch) == 1 else np.concatenate([one.inputs for one in batch])
        try:
            probabilities = await self._call(inputs, b"")
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error.without_traceback() if isinstance(error, RequestError) else error)
            return
        start = 0
        for one in batch:
            end = start + len(one.inputs)
            if not one.answer.done():
                one.answer.set_result(probabilities[start:end])
            start = end

    async def _call(self, inputs: NDArray[np.float32], headers: bytes) -> NDArray[np.float32]:
        deadline = asyncio.get_running_loop().time() + self._address.timeout
        starts = range(0, len(inputs), _CALL_ROWS)
        parts = [await self._ask(inputs[start : start + _CALL_ROWS], headers, deadline) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def _ask(self, inputs: NDArray[np.float32], headers: bytes, deadline: float) -> NDArray[np.float32]:
        call = f"{next(self._calls_made):x}"
        message = self._message(inputs, headers, call)
        most_bytes = len(inputs) * self._classes * 4 + _MOST_HEAD_BYTES
        try:
            for _ in range(_VERSION_ATTEMPTS):
                answer = await self._connections.post(message, deadline, most_bytes)
                if answer.status != 404:
                    break
        except TimeoutError:
            raise RequestError(
                504, "predictor_timeout", f"the predictor did not answer within {self._address.timeout:g} s"
            ) from None
        except (OSError, ConnectionLostError) as error:
            raise unavailable("predictor_down", f"the predictor cannot be reached: {type(error).__name__}") from error
        if answer.status != 200:
            raise unavailable(
                "predictor_refused",
                f"the predictor answered {answer.status}; it may be starting, or serve another version",
            )
        try:
            return read_probabilities(answer, call, (len(inputs), self._classes))
        except ValueError as error:
            # It is among the idle ones by now; they are few and soon made.
            self._connections.close()
            raise unavailable("predictor_refused", f"the predictor's answer is not believed: {error}") from None

    def _message(self, inputs: NDArray[np.float32], headers: bytes, call: str) -> bytes:
        raw = inputs.tobytes()
        head = (
            b'{"id":"%b","inputs":[{"name":"features","datatype":"FP32","shape":[%d,%d],'
            b'"parameters":{"binary_data_size":%d}}],'
            % (
                call.encode(),
                *inputs.shape,
                len(raw),
            )
            + b'"parameters":{"binary_data_output":true}}'
        )
        return b"%binference-header-content-length: %d\r\ncontent-length: %d\r\n%b\r\n%b%b" % (
            self._start,
            len(head),
            len(head) + len(raw),
            headers,
            head,
            raw,
        )


def read_probabilities(answer: Answer, call: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the probabilities [rows, classes] out of an answer.

    Raises:
        ValueError: it is not the answer to this call, or does not hold probabilities of this shape.
    """
    head, tensor = answer.body[: answer.json_length], answer.body[answer.json_length :]
    document = orjson.loads(head)
    if not isinstance(document, dict) or document.get("id") != call:
        raise ValueError("it answers another request")
    if len(tensor) != shape[0] * shape[1] * 4:
        raise ValueError(f"it has {len(tensor)} bytes, expected FP32 of shape {list(shape)}")
    probabilities: NDArray[np.float32] = np.frombuffer(tensor, "<f4").reshape(shape)
    if not _are_probabilities(probabilities):
        raise ValueError("its rows are not probabilities")
    return probabilities


def _are_probabilities(rows: NDArray[np.float32]) -> bool:
    """Say whether all are finite, within [0, 1], and the classes of each row sum to 1."""
    if len(rows) <= _FEW_ROWS:
        # A comparison with NaN is false, so each is made to be true of what is good.
        return all(
            min(row) >= -_BOUND_TOLERANCE and max(row) <= 1 + _BOUND_TOLERANCE and abs(sum(row) - 1) <= _SUM_TOLERANCE
            for row in rows.tolist()
        )
    bounded = rows.min() >= -_BOUND_TOLERANCE and rows.max() <= 1 + _BOUND_TOLERANCE
    return bool(bounded and np.abs(rows.sum(axis=1) - 1).max() <= _SUM_TOLERANCE)
