"""How many predictions were served, by day and bin, out of Prometheus into the store of outcomes.

Prometheus forgets, and outcomes come late: what a day held is asked for while the day lasts and for a week after it.
"""

import datetime

from healthrisk.monitoring import traffic
from healthrisk.monitoring.outcome_store import OutcomeStore, ServedCell

_DAYS = 7
_DAY = datetime.timedelta(days=1)


def record(prometheus: str, store: OutcomeStore, now: datetime.datetime) -> None:
    """Note what was served on each of the last seven days, in UTC.

    It may be done at any time and again: a day's counts only grow.

    Raises:
        SourceError: Prometheus does not answer.
        StoreError: the database does not.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(_DAYS):
        begin = midnight - back * _DAY
        store.note_served(_served(prometheus, begin, min(begin + _DAY, now)))


def _served(prometheus: str, begin: datetime.datetime, end: datetime.datetime) -> dict[ServedCell, int]:
    at = end.timestamp()
    seconds = max(int(at - begin.timestamp()), 1)
    info = f"group by (version, digest) (present_over_time(healthrisk_model_info[{seconds}s]))"
    known = traffic.query(prometheus, info, at)
    digests = {one.metric["version"]: one.metric["digest"] for one in known}
    increase = f"sum by (dataset, version, label, bin) (increase(prediction_bins_total[{seconds}s]))"
    bins = traffic.query(prometheus, increase, at)
    return {
        ServedCell(one.metric["dataset"], digest, begin.date(), one.metric["label"], int(one.metric["bin"])): count
        for one in bins
        if (count := round(one.value[1])) > 0 and (digest := digests.get(one.metric["version"])) is not None
    }
