"""Permutation importance beside scikit-learn's own."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression

from healthrisk.spec.metric import LOG_LOSS, ROC_AUC
from healthrisk.training import importance, metrics


@pytest.mark.parametrize("metric", [LOG_LOSS, ROC_AUC])
@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        RandomForestClassifier(n_estimators=5, random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
    ],
)
def test_it_is_scikit_learns(classifier: Any, metric: Any) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(61, 4))
    y = (matrix[:, 0] + rng.normal(size=61) > 0).astype(np.int64)
    model = classifier.fit(matrix, y)

    def scorer(model: Any, x: Any, truth: Any) -> float:
        return metric.sign * metrics.score(metric, truth, model.predict_proba(x))

    theirs = permutation_importance(model, matrix, y, scoring=scorer, n_repeats=5, random_state=3).importances
    ours = importance.permutation_losses(model.predict_proba, metric, matrix, y, 5, 3)
    # A product of matrices may round otherwise in a larger matrix.
    assert ours == pytest.approx(theirs, abs=1e-13 if isinstance(classifier, LogisticRegression) else 0)
