"""Make a small real bundle: `python tests/support/sample_bundle.py FOLDER [--dataset NAME] [--family NAME] [--seed N]`.

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
from healthrisk.data import encoding
from healthrisk.registry.build import build_bundle
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing, train


def rows_of(chosen: DatasetSpec, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a coded matrix [rows, features] and class positions [rows]."""
    shipped = Path(datasets.__path__[0]) / f"{chosen.name}.csv"
    if shipped.exists():
        table = pa.csv.read_csv(shipped, convert_options=pa.csv.ConvertOptions(null_values=list(chosen.missing_tokens)))
        return encoding.encode(chosen, table), encoding.encode_target(chosen, table)
    matrix = parity.generate_rows(chosen, 1000, seed)
    numbers = np.nan_to_num(matrix[:, [i for i, column in enumerate(chosen.columns) if column.kind != "code"]])
    score = (numbers / numbers.std(axis=0)).sum(axis=1)
    classes = len(chosen.target.classes)
    return matrix, np.searchsorted(np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]), score).astype(np.int64)


def build(dataset: str, family: Any, folder: Path, seed: int = 7) -> Path:
    """Fit one family without a search, and write its bundle below `folder`."""
    chosen = spec.load(dataset)
    matrix, target = rows_of(chosen, seed)
    fitted, preprocessor = preprocessing.fit(chosen, matrix)
    classifier = train.unfitted(family, seed).fit(preprocessor.transform(matrix), target)
    record = {"family": family, "seed": seed, "rows": len(matrix), "parameters": {}}
    with tempfile.TemporaryDirectory() as source:
        out_of_fold = np.zeros((len(matrix), len(chosen.target.classes)))
        train.Trained(family, fitted, classifier, record, out_of_fold).save(Path(source))
        return build_bundle(chosen, folder, Path(source), matrix, {}, {"source": "sample"}).path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", default="heart-disease")
    parser.add_argument("--family", default="random_forest", choices=spec.FAMILIES)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    print(build(given.dataset, given.family, given.folder, given.seed))
