"""What a model uses: Shapley values over patients of the hold-out, and one invented patient explained."""

import numpy as np
from numpy.typing import NDArray

from healthrisk.bundle import reference
from healthrisk.evidence.documents import Contribution, ExplainedPatient, Explanation, MeanEffect
from healthrisk.inference.shapley import Explainer
from healthrisk.spec import DatasetSpec
from healthrisk.training.train import Trained

EXPLAINED_ROWS = 60


def describe(
    spec: DatasetSpec,
    model: Trained,
    every: NDArray[np.float64],
    p: NDArray[np.float64],
    shown: NDArray[np.float64],
    seed: int,
) -> Explanation:
    """Return mean absolute Shapley values over the first rows of `shown`, and one invented patient explained.

    `every` and `shown` [rows, features] are encoded; the background is drawn from the distributions of `every`, whose
    probabilities are `p` [rows, classes].
    """
    pipeline = model.pipeline(spec)
    known = reference.describe(spec, every, p.astype(np.float32))
    explainer = Explainer(spec, known, pipeline.predict_proba, seed=seed)
    explained = np.stack([explainer.explain(row).values for row in shown[:EXPLAINED_ROWS]])
    # Two classes mirror each other; of more, every class counts the same.
    size = np.abs(explained).mean(axis=(0, 2))
    return Explanation(
        rows=len(explained),
        overall=tuple(MeanEffect(label=spec.columns[i].label, mean=float(size[i])) for i in np.argsort(-size)),
        example=_example(spec, explainer, pipeline.predict_proba(explainer.background)),
    )


def _example(spec: DatasetSpec, explainer: Explainer, p: NDArray[np.float64]) -> ExplainedPatient:
    """Explain the background patient who most probably belongs to the last class."""
    invented = explainer.background[int(p[:, -1].argmax())]
    one = explainer.explain(invented)
    k = int(one.probability.argmax())
    return ExplainedPatient(
        outcome=spec.target.classes[k].name,
        base=float(one.base[k]),
        probability=float(one.probability[k]),
        values=tuple(
            Contribution(
                label=spec.columns[i].label,
                shown=spec.columns[i].format_value(float(invented[i])),
                value=float(one.values[i, k]),
                error=float(one.errors[i, k]),
            )
            for i in np.argsort(-np.abs(one.values[:, k]))
        ),
    )
