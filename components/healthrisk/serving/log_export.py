"""Lines about requests, sent to OTEL_EXPORTER_OTLP_ENDPOINT beside the spans: each under its trace's id.

A server says itself what it has to say: nothing that reads every pod's lines runs on the nodes, and what leaves the pod
is what the lines on standard error hold, no value out of a request.
"""

import logging
import os

from healthrisk.serving.logs import line_of


class CollectorHandler(logging.Handler):
    """Hands lines to OpenTelemetry, which sends them in batches on a thread of its own and drops what finds no room."""

    def __init__(self, service: str) -> None:
        super().__init__()
        # OpenTelemetry for Python has nothing of its logs outside of modules that begin with an underscore yet.
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource

        provider = LoggerProvider(resource=Resource.create({"service.name": service}))
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        self._logger = provider.get_logger("healthrisk")

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        from opentelemetry._logs import SeverityNumber
        from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

        line = line_of(record)
        message, level, trace_id = line.pop("message"), line.pop("level"), line.pop("trace_id", "0")
        # Python's 10, 20, 30 and 40 are 5, 9, 13 and 17.
        severity = SeverityNumber(min(record.levelno // 10, 5) * 4 + 1)
        span = NonRecordingSpan(SpanContext(int(trace_id, 16), 0, is_remote=True))
        self._logger.emit(
            timestamp=int(record.created * 1e9),
            context=set_span_in_context(span),
            severity_number=severity,
            severity_text=level,
            body=message,
            attributes={name: value for name, value in line.items() if name != "time"},
        )


def export(service: str) -> None:
    """Send what this process says from now on, where an endpoint is configured; frameworks' lines stay here."""
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        logging.getLogger("healthrisk").addHandler(CollectorHandler(service))
