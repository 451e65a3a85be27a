"""The service on which outcomes come back: `python -m healthrisk outcome-service`.

Behind the gateway, which knows who calls. It keeps nothing itself: the counts are the database's, and of two of these
services neither knows of the other. What the counts say of each version it computes now and then, for Prometheus.
"""

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import prometheus_client
import uvicorn
from prometheus_client import REGISTRY

from healthrisk import processes
from healthrisk.errors import ConfigError, HealthriskError, SourceError, StoreError
from healthrisk.monitoring import served_predictions
from healthrisk.monitoring.live_gauges import LiveGauges
from healthrisk.monitoring.outcome_app import OutcomeApp
from healthrisk.monitoring.outcome_file import ROWS_AT_ONCE
from healthrisk.monitoring.outcomes import Outcomes, open_outcomes
from healthrisk.monitoring.performance import LivePerformance
from healthrisk.serving import http_server, logs
from healthrisk.serving.admission import AdmissionController, Limits
from healthrisk.serving.metrics_page import MetricsPage

_METRICS_CONNECTIONS = 64
# A transaction takes milliseconds, and the database a few at once.
LIMITS = Limits(
    max_rows=ROWS_AT_ONCE,
    max_body_bytes=2 * 2**20,
    max_parsed_bytes=16 * 2**20,
    max_in_flight=8,
    max_held_bytes=16 * 2**20,
    max_connections=256,
)
_log = logging.getLogger("healthrisk.outcomes")


@dataclass(frozen=True)
class Options:
    """Where the service listens: a host, the port of outcomes, the port of metrics; and how it goes about its work.

    It gives a request `request_seconds` to come in and `answer_seconds` to be counted, answers on for `drain_seconds`
    once told to stop, and computes figures every `assess_seconds`; of the Prometheus at `prometheus`, if there is one,
    it learns what was served.
    """

    host: str
    port: int
    metrics_port: int
    request_seconds: float
    answer_seconds: float
    drain_seconds: float
    assess_seconds: float
    prometheus: str | None


def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: there is no key, or a port is taken.
        StoreError: the database does not answer.
    """
    if options.port == options.metrics_port:
        raise ConfigError(f"port {options.port} cannot be both of outcomes and of metrics: expected two")
    for port in (options.port, options.metrics_port):
        processes.require_free_ports(options.host, port)
    logs.configure("info")
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    admission = AdmissionController(
        dataclasses.replace(
            LIMITS,
            request_seconds=options.request_seconds,
            answer_seconds=options.answer_seconds,
            drain_seconds=options.drain_seconds,
        )
    )
    with open_outcomes() as outcomes:
        app = OutcomeApp(outcomes.intake(), admission, REGISTRY)
        at = options.host, options.port
        server = http_server.make(app, at, admission, admission.limits.max_connections)
        at = options.host, options.metrics_port
        page = http_server.make(MetricsPage(), at, admission, _METRICS_CONNECTIONS)
        asyncio.run(_serve(server, page, admission, _assess(outcomes, options)))


async def _assess(outcomes: Outcomes, options: Options) -> None:
    """Show what outcomes say, again and again; where something cannot be reached, what was shown last stays."""
    gauges = LiveGauges(REGISTRY)
    while True:
        try:
            gauges.show(await asyncio.to_thread(_assess_all, outcomes, options.prometheus))
        except HealthriskError as error:
            _log.warning("figures are not computed anew: %s", error)
        except Exception:  # noqa: BLE001 - what is wrong with figures is no reason to take no more outcomes
            _log.exception("figures are not computed anew")
        await asyncio.sleep(options.assess_seconds)


def _assess_all(outcomes: Outcomes, prometheus: str | None) -> list[LivePerformance]:
    if prometheus:
        try:
            served_predictions.record(prometheus, outcomes.counts, datetime.datetime.now(datetime.UTC))
        except SourceError as error:
            _log.warning("what was served is not known: %s", error)
    assessed = []
    for model in outcomes.counts.models():
        try:
            assessed.append(outcomes.assess(model))
        except StoreError as error:
            # One version's bundle that is away hides no other model.
            _log.warning("no figures of %s: %s", model, error)
    return assessed


async def _serve(
    outcomes: uvicorn.Server, page: uvicorn.Server, admission: AdmissionController, assessing: Coroutine[Any, Any, None]
) -> None:
    http_server.drain_when_told(outcomes, admission, lambda: _log.info("stopping"))
    scraped, assessed = asyncio.create_task(page.serve()), asyncio.create_task(assessing)
    _log.info("serving")
    await outcomes.serve()
    assessed.cancel()
    page.should_exit = True
    await scraped
