"""Validation inside: repeated nested cross-validation, in which every outer fold searches its own hyper-parameters.

It judges the whole procedure on all rows at hand, and no row helps to choose the model that is judged on it (Varma and
Simon, BMC Bioinformatics 7, 2006). Intervals are corrected resampled t intervals (Nadeau and Bengio 2003).
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healthrisk import train
from healthrisk.spec import DatasetSpec, Family

_log = logging.getLogger("healthrisk")


def nested(
    spec: DatasetSpec,
    families: Sequence[Family],
    part: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
    repeats: int,
) -> dict[str, Any]:
    """Return each family's scores and intervals; logs a line a family and repeat."""
    matrix, y = part
    outer = train.splits(spec, y, seed + 1, repeats)
    found: dict[str, Any] = {}
    for family in families:
        scores: list[dict[str, float]] = []
        for repeat in range(repeats):
            began = time.monotonic()
            folds = outer[repeat * spec.selection.folds : (repeat + 1) * spec.selection.folds]
            with train.parallel(family, len(y)):
                model = train.search(spec, family, seed, refit=True)
                scores += train.cross_validate(spec, model, matrix, y, folds, jobs=1)[0]
            place = f"{repeat + 1}/{repeats}"
            _log.info("nested cross-validation of %s, %s: %.1f s", family, place, time.monotonic() - began)
        found[family] = train.summary(spec, scores)
    return found
