"""The record of what was trained: one MLflow run per model, with parameters, metrics, plots and the model itself."""

import importlib
import logging
import time
from pathlib import Path
from typing import Any

import mlflow.sklearn
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches
from sklearn.pipeline import make_pipeline

from healthrisk.bundle.manifest import DataOrigin
from healthrisk.config import settings
from healthrisk.registry import provenance
from healthrisk.registry.versions import client as tracking_client
from healthrisk.spec import DatasetSpec
from healthrisk.training.decision import Decision, ModelFigures
from healthrisk.training.train import Trained

# What scikit-learn's models hold besides plain numbers; MLflow writes them in a format that opens nothing else.
TRUSTED_TYPES = [
    "numpy.dtype",
    "healthrisk.training.recalibration.RecalibratedClassifier",
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]


def prepare() -> None:
    """Do once what MLflow does when the first model is logged: import its format, look through what is installed."""
    importlib.import_module("skops.io")
    warn_dependency_requirement_mismatches(_requirements())


def log_runs(
    spec: DatasetSpec,
    models: list[Trained],
    decision: Decision,
    page: str,
    plots: Path,
    data: DataOrigin,
    revision: str,
) -> dict[str, str]:
    """Log every trained family with its evaluation; return the run ids by family.

    `plots` holds a folder of pictures for each family.
    """
    client, own_experiment = tracking_client(), experiment(spec.name)
    runs: dict[str, str] = {}
    common = {"dataset": spec.name, "data.sha256": data.sha256, "data.rows": str(data.rows), "git.revision": revision}
    for model in models:
        measured = decision.models[model.family]
        tags = common | {
            MLFLOW_RUN_NAME: model.family,
            "winner": str(model.family == decision.winner).lower(),
            "gates.passed": str(decision.passed).lower(),
            **({"gates.override": decision.override.statement} if decision.override else {}),
        }
        run = client.create_run(own_experiment, tags=tags).info.run_id
        now = int(time.time() * 1000)
        client.log_batch(
            run,
            metrics=[Metric(name, value, now, 0) for name, value in _numbers(measured).items()],
            params=[
                Param(name, str(value)) for name, value in (model.record.parameters | {"seed": decision.seed}).items()
            ],
            tags=[RunTag("family", model.family)],
        )
        _log_files(client, run, spec, model, page, plots / model.family)
        client.set_terminated(run)
        runs[model.family] = run
    return runs


def experiment(name: str) -> str:
    """Return the id of a data set's experiment, made if there is none."""
    client, where = tracking_client(), settings()
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    own = (where.home / "artifacts").as_uri() if where.registry_file else None
    return str(client.create_experiment(name, artifact_location=own))


def _numbers(figures: ModelFigures) -> dict[str, float]:
    numbers = {f"train.{name}": value for name, value in figures.train.scores.items()}
    numbers |= {f"test.{name}": value for name, value in figures.test.scores.items()}
    for name, interval in figures.cross_validation.intervals.items():
        numbers |= {f"cv.{name}.{end}": value for end, value in interval.model_dump().items()}
    return numbers


def _log_files(client: Any, run: str, spec: DatasetSpec, model: Trained, page: str, plots: Path) -> None:
    client.log_artifacts(run, str(plots), "plots")
    client.log_text(run, page, "report.html")
    client.log_text(run, model.record.to_json(), "training.json")
    client.log_text(run, spec.to_json(), "spec.json")
    # It warns of every pip it cannot see, though the requirements below are complete.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(settings().tracking_uri)
    with mlflow.start_run(run_id=run):
        # The requirements are named here: MLflow would otherwise start a process to find them out.
        mlflow.sklearn.log_model(
            make_pipeline(model.preprocessing, model.classifier),
            name="model",
            skops_trusted_types=TRUSTED_TYPES,
            pip_requirements=_requirements(),
        )


def _requirements() -> list[str]:
    return [f"{name}=={number}" for name, number in provenance.versions().items() if name in provenance.PACKAGES[1:4]]
