"""The path on which outcomes come back over HTTP, as an ASGI application in front of the intake.

`POST /v1/outcomes` with `{"outcomes": [{"receipt": "...", "outcome": 1, "observed_at": "2026-11-30"}]}`, of which the
last may be left out. All that is good is counted, in one transaction; where anything is refused, the answer is a 400.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any, TypedDict

import prometheus_client
from prometheus_client import CollectorRegistry

from healthrisk.errors import StoreError
from healthrisk.monitoring.outcome_intake import OutcomeIntake, Returned, Ruling
from healthrisk.serving import parsing
from healthrisk.serving.admission import AdmissionController
from healthrisk.serving.body import Body, Receive, Send
from healthrisk.serving.data_plane import Context
from healthrisk.serving.errors import RequestError, bad_request, shown, too_large, unavailable
from healthrisk.serving.headers import JSON, by_name, content_type, request_id
from healthrisk.serving.replies import Replies

PATH = "/v1/outcomes"
_LIVE, _READY = "/v2/health/live", "/v2/health/ready"
_FIELDS = ("receipt", "outcome", "observed_at")
_log = logging.getLogger("healthrisk.outcomes")


class Refused(TypedDict):
    """An outcome that was not counted: its row from 0, why in a word, and in a sentence."""

    row: int
    kind: str
    reason: str


class Tally(TypedDict):
    """What was done with the rows of a request."""

    rows: int
    counted: int
    repeated: int
    refused: list[Refused]


class OutcomeApp:
    """Answers the requests of one service."""

    def __init__(self, intake: OutcomeIntake, admission: AdmissionController, registry: CollectorRegistry) -> None:
        self._intake, self._admission = intake, admission
        self._replies = Replies(admission)
        self._requests = prometheus_client.Counter(
            "outcome_requests_total", "Requests that bring outcomes, by HTTP status.", ["code"], registry=registry
        )
        self._outcomes = prometheus_client.Counter(
            "outcomes_returned_total",
            "Outcomes that came back: counted, repeated, or refused and why.",
            ["result", "kind"],
            registry=registry,
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        if path == PATH and method == "POST":
            await self._answer(scope, receive, send)
        elif path in {_LIVE, _READY} and method in {"GET", "HEAD"}:
            draining = path == _READY and self._admission.draining
            await self._replies.respond(send, 503 if draining else 200, {"ready": not self._admission.draining})
        elif path in {PATH, _LIVE, _READY}:
            allowed = "POST" if path == PATH else "GET, HEAD"
            error = {"error": f"{method[:20]} is not allowed here, expected {allowed}"}
            await self._replies.respond(send, 405, error, [(b"allow", allowed.encode())])
        else:
            await self._replies.respond(send, 404, {"error": f"there is only POST {PATH} here"})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = by_name(scope["headers"])
        context = Context("outcomes", request_id(headers), admission=self._admission)
        body = Body(headers, receive, self._admission)
        more = [(b"x-request-id", context.request_id.encode())] if context.request_id else []
        try:
            self._admission.enter()
            try:
                content_type(headers, JSON)
                tally = await self._take(await body.read(context, self._parse))
            finally:
                self._admission.leave(context.size)
        except RequestError as error:
            self._log_refusal(context, error.status, error.reason)
            if error.status == 413 and not body.complete:
                await self._replies.refuse_body(send, body, error, more)
            else:
                await self._replies.respond(send, error.status, error.body, more)
            return
        if tally["refused"]:
            self._log_refusal(context, 400, "outcome")
            await self._replies.respond(send, 400, {"error": _summary(tally), **tally}, more)
        else:
            self._requests.labels("200").inc()
            await self._replies.respond(send, 200, tally, more)

    async def _parse(self, body: bytes) -> list[Returned]:
        limits = self._admission.limits
        return await self._admission.work(
            len(body), lambda: _read(parsing.parse(body, limits.max_parsed_bytes), limits.max_rows)
        )

    async def _take(self, returned: list[Returned]) -> Tally:
        limits = self._admission.limits
        try:
            async with asyncio.timeout(limits.answer_seconds):
                rulings = await asyncio.to_thread(self._intake.take, returned)
        except TimeoutError:
            # The thread goes on, and may count them yet: sent again, they are repeated.
            message = f"not counted within {limits.answer_seconds:g} s; send the same again"
            raise RequestError(504, "deadline", message) from None
        except StoreError as error:
            _log.warning("nothing is counted: %s", error)
            raise unavailable(
                "store", "the counts or a model's version cannot be reached; nothing was counted"
            ) from None
        for (result, kind), count in Counter((ruling.result, ruling.kind) for ruling in rulings).items():
            self._outcomes.labels(result, kind).inc(count)
        return _tally(rulings)

    def _log_refusal(self, context: Context, code: int, reason: str) -> None:
        self._requests.labels(str(code)).inc()
        fields = {"request_id": context.request_id or None, "protocol": context.protocol, "code": code}
        _log.warning("request refused", extra={**fields, "reason": reason})


def _read(document: Any, max_rows: int) -> list[Returned]:
    """Return the outcomes that a request's document brings.

    Raises:
        RequestError: it is not of the form, or brings too many.
    """
    rows = document.get("outcomes") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise bad_request("protocol", "the body must be a JSON object with 'outcomes', a list of at least one")
    if len(rows) > max_rows:
        raise too_large(f"the request has {len(rows)} outcomes, at most {max_rows} are allowed")
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise bad_request("protocol", f"row {place}: {shown(row)}, expected an object with receipt and outcome")
        if unknown := [name for name in row if name not in _FIELDS]:
            known = ", ".join(_FIELDS)
            raise bad_request("protocol", f"row {place}: has {shown(unknown[0])}, expected nothing but {known}")
    return [Returned(*(row.get(name) for name in _FIELDS)) for row in rows]


def _tally(rulings: Sequence[Ruling]) -> Tally:
    done = Counter(ruling.result for ruling in rulings)
    refused: list[Refused] = [
        {"row": row, "kind": ruling.kind, "reason": ruling.reason}
        for row, ruling in enumerate(rulings)
        if ruling.result == "refused"
    ]
    return {"rows": len(rulings), "counted": done["counted"], "repeated": done["repeated"], "refused": refused}


def _summary(tally: Tally) -> str:
    first = tally["refused"][0]
    return f"{len(tally['refused'])} of {tally['rows']} outcomes refused; row {first['row']}: {first['reason']}"
