"""Cross-validated probabilities of whole data sets, and counts of them in bins."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from sklearn.model_selection import cross_val_predict

from healthrisk import spec as specs
from healthrisk.data import encoding
from healthrisk.monitoring.figures import Bins, Within
from healthrisk.receipts import probability_bins, validation_bins
from healthrisk.receipts.validation_bins import MIDDLES
from healthrisk.training import estimators, preprocessing
from tests.support import sample_bundle

CASES = [
    ("heart-disease", "logistic_regression"),
    ("heart-disease", "random_forest"),
    ("breast-cancer", "logistic_regression"),
    ("breast-cancer", "random_forest"),
    ("obesity", "logistic_regression"),
]


def in_bins(chance: np.ndarray, came: np.ndarray, like: tuple[np.ndarray, np.ndarray] | None = None) -> Bins:
    """Count rows in bins, which stand for what they are in other rows, or else for their middles."""
    places = probability_bins.bins(chance)
    counts = [np.bincount(places[mask], minlength=probability_bins.BINS).astype(float) for mask in (came, ~came)]
    if like is None:
        return Bins(*counts, MIDDLES)
    known = validation_bins.count_label("", "", "event", like[0], probability_bins.bins(like[0]), like[1])
    return Bins(*counts, np.array(known.means), Within.of(known))


@pytest.fixture(scope="session", params=CASES, ids="-".join)
def unseen(request: pytest.FixtureRequest, uci: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each label's cross-validated probabilities, and whether it came true, on a whole data set."""
    dataset, family = request.param
    spec = specs.load(dataset)
    if dataset == "obesity":
        table = pyarrow.csv.read_csv(uci / "ObesityDataSet_raw_and_data_sinthetic.csv")
        matrix, y = encoding.encode(spec, table), encoding.encode_target(spec, table)
    else:
        matrix, y = sample_bundle.rows_of(spec, 0)
    inputs = preprocessing.fit(spec, matrix)[1].transform(matrix)
    scored = cross_val_predict(estimators.make_classifier(family, 0), inputs, y, cv=5, method="predict_proba")
    chances = probability_bins.probabilities(spec, scored)
    came = np.array([probability_bins.happened(spec, position) for position in y])
    return [(label, chances[:, place], came[:, place]) for place, label in enumerate(probability_bins.labels(spec))]
