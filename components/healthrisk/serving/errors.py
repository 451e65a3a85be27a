"""A refused or failed request, as a protocol answers it."""

from dataclasses import dataclass
from typing import Any, TypedDict

from healthrisk.errors import HealthriskError
from healthrisk.serving.answers import ErrorBody

RETRY_AFTER_SECONDS = 1
_SHOWN = 80


@dataclass(frozen=True)
class Fault:
    """Where a request is wrong: the row, the feature, the value given and what is allowed instead."""

    row: int
    feature: str
    value: Any
    allowed: str


class Details(TypedDict, total=False):
    """The place of a value at fault, and what is allowed instead, as far as they are known."""

    row: int
    feature: str
    value: int | float | bool | str | None
    allowed: str


class RequestError(HealthriskError):
    """A request that gets no prediction. `status` is the HTTP status, `reason` the metric's label.

    A reason is a fixed word: it carries no value out of a request, so that it may go to metrics and logs.
    """

    def __init__(self, status: int, reason: str, message: str, details: Details | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.details: Details = details or {}

    def without_traceback(self) -> "RequestError":
        """Return the error without its traceback and causes, whose frames hold a request's body.

        An error that is kept in a frame of its own traceback would keep all of that until the garbage collector comes.
        """
        return RequestError(self.status, self.reason, str(self), self.details)

    @property
    def body(self) -> ErrorBody:
        """The JSON answer."""
        return {"error": str(self), **self.details}


class ValueRefusedError(RequestError):
    """A value that the spec does not allow."""

    def __init__(self, reason: str, fault: Fault) -> None:
        value = fault.value if isinstance(fault.value, int | float | bool | str | None) else shown(fault.value)
        value = value[:_SHOWN] if isinstance(value, str) else value
        super().__init__(
            400,
            reason,
            f"row {fault.row}: {fault.feature} is {shown(fault.value)}, expected {fault.allowed}",
            {"row": fault.row, "feature": fault.feature, "value": value, "allowed": fault.allowed},
        )


def shown(value: Any) -> str:
    """Return a JSON value as an error quotes it: of a list or object only what it is, however deep it nests."""
    if value is None:
        return "missing"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value[:_SHOWN] if isinstance(value, str) else value)


def bad_request(reason: str, message: str) -> RequestError:
    """Return the error for a request that is not of the protocol's form."""
    return RequestError(400, reason, message)


def too_large(message: str) -> RequestError:
    """Return the error for a request above a configured limit."""
    return RequestError(413, "too_large", message)


def unavailable(reason: str, message: str) -> RequestError:
    """Return the error for a request that may succeed when sent again after `RETRY_AFTER_SECONDS`."""
    return RequestError(503, reason, message)
