"""A linear winner written down: an intercept and a coefficient for each unit of a number and each code."""

import numpy as np

from healthrisk.evidence.clinical_documents import LinearModel, Term
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing
from healthrisk.training.recalibration import linear_numbers
from healthrisk.training.train import Trained


def describe(spec: DatasetSpec, model: Trained) -> LinearModel | None:
    """Return a model in the spec's units; None where it is not linear."""
    numbers = linear_numbers(model.classifier)
    if numbers is None:
        return None
    prepared = preprocessing.extract(spec, model.preprocessing)
    coefficients, intercepts = numbers
    width = len(prepared.numbers)
    per_unit = coefficients[:, :width] / prepared.scale
    terms = [
        Term(
            label=spec.columns[place].label,
            per=f"per {spec.columns[place].unit or 'unit'}",
            coefficients=tuple(per_unit[:, output].tolist()),
        )
        for output, place in enumerate(prepared.numbers.tolist())
    ]
    codes = zip(prepared.codes.tolist(), prepared.levels.tolist(), strict=True)
    for output, (place, level) in enumerate(codes, width):
        column = spec.columns[place]
        values = tuple(coefficients[:, output].tolist())
        terms.append(Term(label=column.label, per=column.format_value(level), coefficients=values))
    classes = () if spec.is_binary else tuple(cls.name for cls in spec.target.classes)
    shifted = intercepts - per_unit @ np.asarray(prepared.mean)
    return LinearModel(classes=classes, intercepts=tuple(shifted.tolist()), terms=tuple(terms))
