"""Models on a real Dask cluster: a worker dies in the middle, and the bundle has the same digest."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from healthrisk.bundle.manifest import DataOrigin
from healthrisk.evidence import nested_cv, robustness
from healthrisk.registry.build import build_bundle
from healthrisk.spec import FAMILIES, DatasetSpec
from healthrisk.training import preprocessing, train
from tests.support import sample_bundle
from tests.support.dask_cluster import dask_cluster, use
from tests.support.patience import ANSWER

pytestmark = pytest.mark.slow
SEARCH = {
    "logistic_regression": {"C": (0.1, 0.3)},
    "random_forest": {"n_estimators": (5,), "min_samples_leaf": (3, 6)},
    "gradient_boosting": {"max_iter": (5,), "max_leaf_nodes": (4, 8)},
}


def test_a_cluster_that_loses_a_worker_makes_the_same_bundles_and_evidence(
    heart: tuple[DatasetSpec, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, matrix, y = heart
    selection = spec.selection.model_copy(update={"folds": 3, "repeats": 2})
    small = spec.model_copy(update={"selection": selection, "search": SEARCH})
    here = judge(small, matrix, y, tmp_path / "here")
    with dask_cluster(tmp_path) as cluster:
        use(cluster, monkeypatch)
        cluster.start_worker()
        mortal = cluster.start_worker(fatal_task=5)
        assert judge(small, matrix, y, tmp_path / "there") == here
        assert mortal.wait(ANSWER) < 0


def judge(spec: DatasetSpec, matrix: np.ndarray, y: np.ndarray, folder: Path) -> list[Any]:
    """Return the digests of all families' bundles, and what nested cross-validation and perturbed tables say."""
    fitted, _ = preprocessing.fit(spec, matrix)
    said: list[Any] = []
    for family in FAMILIES:
        trained = train.train(spec, family, fitted, (matrix, y), 0)
        trained.save(source := folder / family)
        origin, decision = DataOrigin(sha256="0" * 64, rows=len(y)), sample_bundle.decision(spec, family, 0.8)
        # protobuf turns a warning about numpy's whole numbers in converted trees into an error of its own.
        with warnings.catch_warnings(action="ignore"):
            bundle = build_bundle(spec, folder, source, [matrix], (matrix[trained.judged], y), decision, origin)
        said += [bundle.digest, trained.record]
    said += [nested_cv.nested(spec, ["logistic_regression"], (matrix, y), 0, 1)]
    said += [robustness.stress(spec, "logistic_regression", {"C": 0.3}, (matrix, y), 0, 1)]
    return [*said, robustness.detect(spec, "logistic_regression", {"C": 0.3}, (matrix, y), 0)]
