"""Make a small real bundle: `python -m tests.support.sample_bundle FOLDER [--dataset NAME] [--family NAME]`.

The heart data is the shipped one. Of other data sets rows are drawn within the spec, with classes by quantiles of a sum
of the numbers: enough to have a model that answers. Prints the bundle's folder.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from healthrisk import datasets, spec
from healthrisk.bundle import parity
from healthrisk.bundle.manifest import DataOrigin, Parity, Provenance
from healthrisk.data import encoding
from healthrisk.registry.build import build_bundle
from healthrisk.spec import DatasetSpec, Family
from healthrisk.spec.metric import SCORES
from healthrisk.training import estimators, preprocessing, train
from healthrisk.training.decision import Decision, Figures, ModelFigures, SplitRows
from healthrisk.training.record import CrossValidated, CrossValidation, SearchRecord, TrainingRecord


def rows_of(chosen: DatasetSpec, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return an encoded matrix [rows, features] and class positions [rows]."""
    shipped = Path(datasets.__path__[0]) / f"{chosen.name}.csv"
    if shipped.exists():
        table = pa.csv.read_csv(shipped, convert_options=pa.csv.ConvertOptions(null_values=list(chosen.missing_tokens)))
        return encoding.encode(chosen, table), encoding.encode_target(chosen, table)
    matrix = parity.generate_rows(chosen, 1000, seed)
    numbers = np.nan_to_num(matrix[:, [i for i, column in enumerate(chosen.columns) if column.kind != "code"]])
    score = (numbers / numbers.std(axis=0)).sum(axis=1)
    classes = len(chosen.target.classes)
    return matrix, np.searchsorted(np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]), score).astype(np.int64)


def cross_validation(score: float) -> CrossValidation:
    """Every metric has the same score in each of two folds."""
    interval = CrossValidated(mean=score, standard_error=0.0, low=score, high=score)
    return CrossValidation(
        folds=2,
        repeats=1,
        scores={metric.name: (score, score) for metric in SCORES},
        intervals={metric.name: interval for metric in SCORES},
    )


def training_record(spec: DatasetSpec, family: Family, seed: int, rows: int) -> TrainingRecord:
    """The record of a model with its default parameters."""
    return TrainingRecord(
        family=family,
        seed=seed,
        rows=rows,
        judged=0,
        parameters={},
        search=SearchRecord(folds=2, metric=spec.selection.metric, rungs=()),
        cross_validation=cross_validation(0.8),
    )


def provenance(name: str, family: Family) -> Provenance:
    """Where a model came from that nobody trained."""
    return Provenance(
        name=name,
        family=family,
        parameters={},
        seed=0,
        data=DataOrigin(sha256="0" * 64, rows=1),
        parity=Parity(rows=1, largest_difference=0.0),
        git_revision="unknown",
        versions={},
    )


def decision(spec: DatasetSpec, family: Family, score: float, seed: int = 0) -> Decision:
    """The choice of the only family there is."""
    figures = Figures(rows=1, scores={metric.name: score for metric in SCORES}, by_class=(), confusion=())
    model = ModelFigures(
        parameters={}, cross_validation=cross_validation(score), train=figures, test=figures, curves={}, importance=()
    )
    return Decision(
        dataset=spec.name,
        metric=spec.selection.metric,
        seed=seed,
        rows=SplitRows(train=1, test=1),
        rule="the only one",
        best=family,
        winner=family,
        gates=(),
        models={family: model},
    )


def build(dataset: str, family: Any, folder: Path, seed: int = 7, **parameters: Any) -> Path:
    """Fit one family without a search, and write its bundle below `folder`."""
    chosen = spec.load(dataset)
    return fit(chosen, family, folder, *rows_of(chosen, seed), seed, **parameters)


def fit(
    chosen: DatasetSpec,
    family: Any,
    folder: Path,
    matrix: NDArray[np.float64],
    target: NDArray[np.int64],
    seed: int,
    **parameters: Any,
) -> Path:
    """Fit one family on encoded rows [rows, features] and class positions [rows], and write its bundle."""
    fitted, preprocessor = preprocessing.fit(chosen, matrix)
    classifier = (
        estimators.make_classifier(family, seed).set_params(**parameters).fit(preprocessor.transform(matrix), target)
    )
    record = training_record(chosen, family, seed, len(matrix))
    with tempfile.TemporaryDirectory() as source:
        # No row was cross-validated: the reference is made of what the model itself says.
        out_of_fold = np.zeros((0, len(chosen.target.classes)))
        train.Trained(family, fitted, classifier, record, out_of_fold, np.zeros(0, dtype=np.intp)).save(Path(source))
        chosen_one = decision(chosen, family, 0.8, seed)
        origin = DataOrigin(sha256="0" * 64, rows=len(matrix))
        return build_bundle(chosen, folder, Path(source), [matrix], (matrix, target), chosen_one, origin).path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", default="heart-disease")
    parser.add_argument("--family", default="random_forest", choices=spec.FAMILIES)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--leaf", type=int, help="the fewest rows of a forest's leaf")
    given = parser.parse_args()
    own = {"min_samples_leaf": given.leaf} if given.leaf else {}
    print(build(given.dataset, given.family, given.folder, given.seed, **own))
