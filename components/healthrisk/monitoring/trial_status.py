"""How a silent trial goes, out of the metrics of the servers that mirror their rows, or of who has read these."""

import math
from collections import defaultdict
from collections.abc import Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from healthrisk.documents import Document
from healthrisk.errors import SourceError
from healthrisk.monitoring import traffic

TIMEOUT = 10.0


class TrialStatus(Document):
    """How far a challenger's answers lie from the champion's, as probabilities of the event, and how it does.

    `other_risk_level` is a share of rows; `slow_seconds` is a time that 99 of 100 calls do not reach.
    """

    model: str
    champion: str
    challenger: str
    compared: int
    failed: int
    dropped: int
    largest_difference: float
    mean_difference: float | None
    other_risk_level: float | None
    slow_seconds: float | None


class TrialStatuses(Document):
    """The silent trials that servers run."""

    trials: tuple[TrialStatus, ...]


def read(pages: Sequence[str]) -> TrialStatuses:
    """Return the trials that the metrics pages at some addresses tell of, all servers together.

    Raises:
        SourceError: a page cannot be read, or none tells of a trial.
    """
    trials: defaultdict[tuple[str, str, str], list[Sample]] = defaultdict(list)
    for page in pages:
        for sample in _samples(page):
            if sample.name.startswith("trial_"):
                labels = sample.labels
                trials[labels["model"], labels["champion"], labels["challenger"]].append(sample)
    if not trials:
        raise SourceError(f"{', '.join(pages)}: no silent trial is under way")
    return TrialStatuses(trials=tuple(_status(*key, samples) for key, samples in sorted(trials.items())))


def on_cluster(prometheus: str, model: str, champion: str, challenger: str) -> TrialStatus | None:
    """Return how a challenger's answers lie beside the champion's, as Prometheus has read it of its servers.

    Both are versions as servers report them. None: these servers compare nothing, or have not been read yet.

    Raises:
        SourceError: Prometheus does not answer.
    """
    own = f'model="{model}",champion="{champion}",challenger="{challenger}"'
    found = traffic.query(prometheus, f'{{__name__=~"trial_.+",{own}}}')
    samples = [Sample(one.metric["__name__"], one.metric, one.value[1]) for one in found]
    return _status(model, champion, challenger, samples) if samples else None


def _samples(page: str) -> list[Sample]:
    try:
        answer = httpx.get(page, timeout=TIMEOUT).raise_for_status()
        return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise SourceError(f"{page} does not answer with metrics: {error}") from None


def _status(model: str, champion: str, challenger: str, samples: list[Sample]) -> TrialStatus:
    def total(name: str, **labels: str) -> float:
        chosen = (one for one in samples if one.name == name and labels.items() <= one.labels.items())
        return math.fsum(one.value for one in chosen)

    compared = int(total("trial_rows_total", result="compared"))
    return TrialStatus(
        model=model,
        champion=champion,
        challenger=challenger,
        compared=compared,
        failed=int(total("trial_rows_total", result="failed")),
        dropped=int(total("trial_rows_total", result="dropped")),
        largest_difference=max(one.value for one in samples if one.name == "trial_largest_difference"),
        mean_difference=total("trial_difference_sum") / compared if compared else None,
        other_risk_level=total("trial_other_risk_level_total") / compared if compared else None,
        slow_seconds=_percentile(samples, 0.99),
    )


def _percentile(samples: list[Sample], share: float) -> float | None:
    """Return the upper limit of the bucket of calls in which a share of them is reached; None where none is."""
    counts: defaultdict[float, float] = defaultdict(float)
    for one in samples:
        if one.name == "trial_seconds_bucket":
            counts[float(one.labels["le"])] += one.value
    total = counts.get(math.inf, 0.0)
    reached = (limit for limit, count in sorted(counts.items()) if count >= share * total and math.isfinite(limit))
    return next(reached, None) if total else None
