"""A step that fails says so to a real Alertmanager: its name, the cause and the run's page, no value of the table."""

import os
import sys
from pathlib import Path

import pytest

from healthrisk import errors
from healthrisk.operations import failed_run
from tests.support import http
from tests.support.alerting import alertmanager, write_config
from tests.support.patience import run
from tests.support.runs import Pipeline, check_refused
from tests.support.servers import free_ports

SCRIPT = """
from healthrisk.errors import GateError, SourceError
from healthrisk.steps.context import step_context
with step_context("Count", '{{"name": "heart-disease"}}') as log:
    {then}
"""


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ("raise GateError('fails its gates: ROC AUC 0.7 >= 0.8')", "fails its gates: ROC AUC 0.7 >= 0.8"),
        (
            "raise SourceError('row 1: age is 1234, expected 0 to 120')",
            "A source of data could not be read, or is not what its spec says it is. The log says where.",
        ),
        ("int('x1234')", "ValueError, which is a defect: the log has its traceback"),
    ],
)
@pytest.mark.slow
def test_a_failed_step_is_told_with_its_cause_and_page(then: str, says: str, tmp_path: Path) -> None:
    with alertmanager(tmp_path, write_config(tmp_path, {})) as url:
        told = {"HEALTHRISK_ALERTS": url, "HEALTHRISK_RUN": "1-2-3"}
        done = run([sys.executable, "-c", SCRIPT.format(then=then)], env={**os.environ, **told})
        (alert,) = http.get(f"{url}/api/v2/alerts").json()
    assert done.returncode == 1
    assert alert["labels"] == {
        **{"alertname": "PipelineRunFailed", "severity": "warning"},
        **{"model": "heart-disease", "run": "1-2-3"},
    }
    assert alert["annotations"]["summary"] == f"heart-disease: the run failed at step 'Count': {says}"
    assert "/#/runs/details/1-2-3" in alert["annotations"]["page"]
    assert "1234" not in str(alert)


def test_a_run_on_this_machine_tells_of_its_failure(own: tuple[str, ...], tmp_path: Path, pipeline: Pipeline) -> None:
    table = tmp_path / "given.csv"
    table.write_text(Path(own[3]).read_text().replace(",medical,", ",nowhere,", 1))
    with alertmanager(tmp_path, write_config(tmp_path, {})) as url:
        done = pipeline(tmp_path / "home", *own[:3], str(table), HEALTHRISK_ALERTS=url)
        (alert,) = http.get(f"{url}/api/v2/alerts").json()
    check_refused(done, tmp_path / "home", "nowhere")
    assert alert["labels"]["model"] == "readmission"
    assert alert["annotations"]["summary"] == (
        "readmission: the run failed at step 'Validate it': A table breaks a rule of its spec that the spec says must "
        "fail. The log says where."
    )
    assert "nowhere" not in str(alert)


@pytest.mark.slow
def test_where_nobody_takes_it_the_step_ends_as_it_would_have(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    script = SCRIPT.format(then="raise GateError('fails')")
    done = run([sys.executable, "-c", script], env={**os.environ, "HEALTHRISK_ALERTS": nobody})
    assert done.returncode == 1
    assert "error: fails" in done.stdout
    assert f"nobody is told: {nobody} does not take alerts" in done.stdout
    assert "Traceback" not in done.stderr


def test_every_error_that_may_quote_a_value_is_told_by_its_kind() -> None:
    for kind in (errors.SourceError, errors.ValidationError, errors.TrainingError, errors.BundleError):
        assert "1234" not in failed_run.cause(kind("row 1: age is 1234"))
    for other in (errors.GateError, errors.StoreError, errors.ConfigError):
        assert failed_run.cause(other("the\n  reason")) == "the reason"
