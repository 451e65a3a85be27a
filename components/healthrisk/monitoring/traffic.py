"""What servers have counted, as Prometheus holds it: the live traffic's side of a drift comparison, without a row."""

import ssl
from functools import cache
from itertools import pairwise

import httpx
from pydantic import BaseModel, ValidationError

from healthrisk.bundle import Bundle
from healthrisk.bundle.reference import ClassCounts, FeatureCounts, NumberCounts, Reference
from healthrisk.errors import SourceError

# Why servers refuse a value; other requests without a prediction say nothing of patients.
REFUSED = ("code", "missing", "range", "type")
_REFUSALS = "prediction_rejected_total"
TIMEOUT = httpx.Timeout(30, connect=5)


class NoTrafficError(SourceError):
    """Prometheus answers, and holds no prediction of the version that was asked for."""


def counts(bundle: Bundle, url: str, model: str, window: str) -> Reference:
    """Return what all replicas of a model's version counted within a window, such as 1d, in the reference's form.

    Refused are requests, by reason: a server looks no further than the first value that is not allowed.

    Raises:
        SourceError: Prometheus does not answer.
        NoTrafficError: it holds nothing of this version.
    """
    own = f'model="{model}",version="{bundle.version}"'
    # By the server's clock.
    at = query(url, "vector(time())")[0].value[0]
    increases = _Increases(url, own, window, at)
    refusals = _Increases(url, f'model="{model}"', window, at)(_REFUSALS, "reason")
    refused = {key[0]: count for key, count in refusals.items()}
    refused = {reason: refused[reason] for reason in REFUSED if refused.get(reason)}
    reference = bundle.reference
    classes = increases("predictions_by_class_total", "class")
    values = reference.predictions.classes
    predicted = tuple(classes.get((str(value),), 0) for value in values)
    if not sum(predicted):
        raise NoTrafficError(f"{url} holds no prediction of {model!r}, version {bundle.version}, within {window}")
    scored = increases("prediction_probability_bucket", "class", "le")
    return Reference(
        rows=sum(predicted),
        features=_features(reference, increases),
        predictions=ClassCounts(classes=values, counts=predicted),
        probabilities={
            name: known.model_copy(update={"counts": _in_bins(known, scored, name), "missing": 0})
            for name, known in reference.probabilities.items()
        },
        refused_rows=sum(refused.values()),
        refused=refused,
    )


def _features(reference: Reference, increases: "_Increases") -> dict[str, FeatureCounts]:
    below = increases("feature_values_bucket", "feature", "le")
    codes = increases("feature_codes_total", "feature", "code")
    missing = increases("feature_missing_total", "feature")
    features: dict[str, FeatureCounts] = {}
    for name, known in reference.features.items():
        if isinstance(known, NumberCounts):
            counted = _in_bins(known, below, name)
        else:
            counted = tuple(codes.get((name, str(code)), 0) for code in known.codes)
        features[name] = known.model_copy(update={"counts": counted, "missing": missing.get((name,), 0)})
    return features


def _in_bins(known: NumberCounts, below: dict[tuple[str, ...], int], name: str) -> tuple[int, ...]:
    """Return the counts of each bin out of a histogram's cumulated ones, by name and upper limit."""
    cumulated_at = {float(label): count for (named, label), count in below.items() if named == name}
    cumulated = [0, *(cumulated_at.get(limit, 0) for limit in (*known.edges, float("inf")))]
    return tuple(max(0, upper - lower) for lower, upper in pairwise(cumulated))


class Sample(BaseModel):
    """A series at one moment, as Prometheus answers it: its labels, and time and number."""

    metric: dict[str, str]
    value: tuple[float, float]


class _Samples(BaseModel):
    result: list[Sample]


class _Answer(BaseModel):
    """The answer to an instant query: `data` where it succeeded, else `error`."""

    status: str
    data: _Samples | None = None
    error: str | None = None


def query(url: str, promql: str, at: float | None = None) -> list[Sample]:
    """Return the samples of an instant query, at a time in seconds since 1970 or now.

    Raises:
        SourceError: Prometheus does not answer, or refuses.
    """
    url = url.rstrip("/")
    params = {"query": promql} | ({} if at is None else {"time": f"{at:.3f}"})
    try:
        response = httpx.get(f"{url}/api/v1/query", params=params, timeout=TIMEOUT, verify=_trusted())
        answer = _Answer.model_validate_json(response.content)
    except (httpx.HTTPError, httpx.InvalidURL, ValidationError) as error:
        raise SourceError(f"{url} does not answer as a Prometheus does: {error}") from error
    if answer.data is None:
        raise SourceError(f"{url} refuses {promql!r}: {answer.error or answer.status}")
    return answer.data.result


@cache
def _trusted() -> ssl.SSLContext:
    """Return the authorities that httpx trusts, read once: for every query it would take as long as twenty."""
    return httpx.create_ssl_context()


class _Increases:
    """Asks one Prometheus for increases of one model's counters, all up to the same moment.

    Prometheus extrapolates an increase towards its window's ends, so that two moments give two answers.
    """

    def __init__(self, url: str, own: str, window: str, at: float) -> None:
        self._url, self._own, self._window, self._at = url, own, window, at

    def __call__(self, metric: str, *labels: str) -> dict[tuple[str, ...], int]:
        """Return the increase of a counter by labels, summed over replicas, in whole events."""
        promql = f"sum by ({', '.join(labels)}) (increase({metric}{{{self._own}}}[{self._window}]))"
        return {
            tuple(sample.metric[label] for label in labels): round(sample.value[1])
            for sample in query(self._url, promql, self._at)
        }
