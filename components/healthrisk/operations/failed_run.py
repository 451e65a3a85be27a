"""A run of the pipeline that failed says so: one alert, with the step, the cause and where to look."""

import datetime
import logging

from healthrisk.config import settings
from healthrisk.errors import HealthriskError, SourceError
from healthrisk.operations.alert import Alert, send

# Once it has been told nothing changes until somebody does something.
_LASTS = datetime.timedelta(hours=12)
_PAGE = "http://localhost:8888/#/runs/details/{} (kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8888:80)"
_log = logging.getLogger("healthrisk")


def cause(error: Exception) -> str:
    """Say in one line why a step ended, without a word that could be out of the table."""
    if not isinstance(error, HealthriskError):
        return f"{type(error).__name__}, which is a defect: the log has its traceback"
    if error.quotes_table:
        return f"{(type(error).__doc__ or '').strip()} The log says where."
    return " ".join(str(error).split())


def tell(model: str, step: str, why: str) -> None:
    """Send the alert to HEALTHRISK_ALERTS, if that is set; where nobody takes it, the log says so."""
    try:
        send_alert(model, settings().run, f"the run failed at step {step!r}: {why}")
    except SourceError as error:
        _log.warning("nobody is told: %s", error)


def send_alert(model: str, run: str, what: str) -> None:
    """Send the alert of a run, if anybody is to be told: the same for whoever finds out, so that it is one message.

    Raises:
        SourceError: Alertmanager does not take it.
    """
    alert = Alert(
        name="PipelineRunFailed",
        severity="warning",
        summary=f"{model}: {what}",
        action="What was served before still is. The step's log says more and, where a gate failed, the report.",
        page=_PAGE.format(run) if run else f"{settings().home / 'runs'}",
        labels={"model": model, **({"run": run} if run else {})},
    )
    if settings().alerts:
        send(alert, settings().alerts, _LASTS)
