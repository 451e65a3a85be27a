"""How an inference service has answered since a moment, by what Prometheus holds of all its replicas.

A challenger is counted under its inference service's name, so that it is told from the champion.
"""

from healthrisk.bundle import Bundle
from healthrisk.documents import Document
from healthrisk.monitoring import drift, traffic
from healthrisk.monitoring.drift import DriftReport

# What is promised is answers within this time, which is an edge of the histogram.
SLOW_SECONDS = 0.2


class ServiceHealth(Document):
    """Requests that were answered, those answered with 5xx, and those that took more than 200 ms."""

    requests: int
    failed: int
    slow: int


def read(prometheus: str, service: str, seconds: float, version: str = "") -> ServiceHealth:
    """Return how a service, or one version of it, has answered for so many seconds, counted where requests come in.

    Raises:
        SourceError: Prometheus does not answer.
    """
    window = f"{max(1, round(seconds))}s"
    # By the server's clock, and all of the same moment.
    at = traffic.query(prometheus, "vector(time())")[0].value[0]
    own = f'model="{service}",component!="predictor"' + (f',version="{version}"' if version else "")

    def increase(metric: str, more: str = "") -> int:
        chosen = f"{metric}{{{own}{more}}}"
        # Of a series that began since then, as that of a first error does, an increase leaves out the first number.
        begun = f"sum(min_over_time({chosen}[{window}]) unless {chosen} offset {window})"
        promql = f"(sum(increase({chosen}[{window}])) or vector(0)) + ({begun} or vector(0))"
        return round(traffic.query(prometheus, promql, at)[0].value[1])

    timed = increase("prediction_latency_seconds_bucket", ',le="+Inf"')
    fast = increase("prediction_latency_seconds_bucket", f',le="{SLOW_SECONDS}"')
    requests = increase("prediction_requests_total")
    failed = increase("prediction_requests_total", ',code=~"5.."')
    return ServiceHealth(requests=requests, failed=failed, slow=max(0, timed - fast))


def drift_of(bundle: Bundle, prometheus: str, service: str, seconds: float) -> DriftReport:
    """Return how far the rows and answers of a service lie from its training data's.

    Raises:
        SourceError: Prometheus does not answer.
        NoTrafficError: it holds no prediction of this service within the time.
    """
    counted = traffic.counts(bundle, prometheus, service, f"{max(1, round(seconds))}s")
    return drift.compare(bundle.reference, counted)
