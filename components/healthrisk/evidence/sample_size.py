"""How many patients a model of this kind asks for, by Riley's criteria (BMJ 2020;368:m441), beside those there were.

The criteria are of a yes/no outcome: with more classes they are asked of the event. A code counts for one parameter
fewer than it has values. Two assumptions frame the answer: the 15 % of explainable variation that the paper takes where
nothing is known, and what this model reached on rows it was not fitted on.
"""

import math

import numpy as np

from healthrisk.evidence.clinical_documents import SampleSize, SizeCriterion
from healthrisk.evidence.event import Event
from healthrisk.spec import DatasetSpec

SHRINKAGE = 0.9
OPTIMISM = 0.05
MARGIN = 0.05
CAUTIOUS = 0.15


def parameters(spec: DatasetSpec) -> int:
    """Return how many parameters a linear model of the spec's columns has, without the intercept."""
    return sum(len(column.codes) - 1 if column.kind == "code" else 1 for column in spec.columns)


def describe(spec: DatasetSpec, patients: int, training: Event) -> SampleSize | None:
    """Return what the criteria ask for, beside the patients that train, given those of them that are judged unseen.

    None where only one outcome occurs.
    """
    share, count = float(training.happened.mean()), parameters(spec)
    if not 0 < share < 1:
        return None
    null = share * math.log(share) + (1 - share) * math.log(1 - share)
    largest = 1 - math.exp(2 * null)
    p = np.clip(training.probability, 1e-6, 1 - 1e-6)
    reached = float(np.mean(np.where(training.happened, np.log(p), np.log1p(-p))))
    assumptions = {f"R² of {CAUTIOUS:.0%} of the possible": CAUTIOUS * largest}
    if (own := 1 - math.exp(-2 * (reached - null))) > 0:
        assumptions["R² as reached"] = min(own, 0.95 * largest)
    criteria = [
        SizeCriterion(asks=asks, assumed=assumed, patients=_patients(count, share_explained, shrinkage))
        for assumed, share_explained in assumptions.items()
        for asks, shrinkage in (
            ("coefficients shrink by a tenth at most", SHRINKAGE),
            ("optimism in R² of 0.05 at most", share_explained / (share_explained + OPTIMISM * largest)),
        )
    ]
    overall = math.ceil((1.96 / MARGIN) ** 2 * share * (1 - share))
    criteria.append(SizeCriterion(asks="the overall risk within 0.05", assumed="", patients=overall))
    return SampleSize(
        patients=patients,
        events=round(min(share, 1 - share) * patients),
        parameters=count,
        criteria=tuple(criteria),
    )


def _patients(count: int, explained: float, shrinkage: float) -> int:
    """Return the patients from which so many parameters are expected to shrink by no more than a factor."""
    return math.ceil(count / ((shrinkage - 1) * math.log(1 - explained / shrinkage)))
