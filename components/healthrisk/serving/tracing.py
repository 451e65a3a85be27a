"""W3C trace context across the hop, and OpenTelemetry spans where OTEL_EXPORTER_OTLP_ENDPOINT is set.

Without an endpoint a request's `traceparent` is only passed on and logged, and no part of OpenTelemetry that makes or
sends spans is even imported.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from healthrisk.serving.errors import RequestError

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# What each vendor writes is its own; the standard bounds it, and asks nobody to pass on more.
_TRACESTATE = re.compile(r"[\t -~]{1,512}")
# A request that takes longer misses the objective: the log has a line of it, and whoever keeps traces has one of it.
SLOW_SECONDS = 0.2


class Carrier(Protocol):
    """Whatever carries a request's `traceparent` and `tracestate`."""

    protocol: str
    traceparent: str
    tracestate: str


def valid(traceparent: str) -> str:
    """Return a `traceparent` header that is of the standard's form, and an empty one otherwise."""
    return traceparent if _TRACEPARENT.fullmatch(traceparent) else ""


def valid_state(traceparent: str, tracestate: str) -> str:
    """Return a `tracestate` header that may be passed on beside a valid `traceparent`, and an empty one otherwise."""
    return tracestate if traceparent and _TRACESTATE.fullmatch(tracestate) else ""


class Tracer:
    """Makes no spans: the tracer where no endpoint is configured."""

    def span(self, carrier: Carrier) -> AbstractContextManager[Any]:  # noqa: ARG002 - the other tracer's signature
        """Return a context in which the request is answered."""
        return _NOTHING


_NOTHING = contextlib.nullcontext()


class OpenTelemetryTracer(Tracer):
    """Makes one server span a request, and has the hop continue it.

    The environment's sampler decides which requests leave spans; a slow one leaves one from each server that was slow.
    """

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource, sent = Resource.create({"service.name": service}), BatchSpanProcessor(OTLPSpanExporter())
        sampled, every = TracerProvider(resource=resource), TracerProvider(sampler=ALWAYS_ON, resource=resource)
        for provider in (sampled, every):
            provider.add_span_processor(sent)
        self._tracer, self._late = sampled.get_tracer("healthrisk"), every.get_tracer("healthrisk")
        self._within = set_span_in_context
        self._propagator = TraceContextTextMapPropagator()
        self._kind, self._error = SpanKind.SERVER, StatusCode.ERROR

    @contextlib.contextmanager
    def span(self, carrier: Carrier) -> Iterator[None]:
        """Return a context in which the request is answered, as a child of the caller's span.

        Of a failure only the kind is exported: its message may quote a value of a patient.
        """
        parent = self._propagator.extract({"traceparent": carrier.traceparent, "tracestate": carrier.tracestate})
        began, name = time.time_ns(), f"infer {carrier.protocol}"
        # Nobody asks for the current span, and to make it the current one takes half as long again.
        span = self._tracer.start_span(name, parent, kind=self._kind, start_time=began)
        headers: dict[str, str] = {}
        self._propagator.inject(headers, self._within(span))
        carrier.traceparent, carrier.tracestate = headers["traceparent"], headers.get("tracestate", "")
        try:
            yield
        except RequestError as error:
            span.set_attribute("error.type", error.reason)
            if error.status >= 500:
                span.set_status(self._error)
            raise
        finally:
            if not span.is_recording() and time.time_ns() - began >= SLOW_SECONDS * 1e9:
                # Under the trace's id that the log has.
                span = self._late.start_span(name, self._within(span), kind=self._kind, start_time=began)
            span.end()


def tracer(service: str) -> Tracer:
    """Return the tracer that the environment asks for."""
    return OpenTelemetryTracer(service) if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") else Tracer()
