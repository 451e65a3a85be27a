"""Validation inside: repeated nested cross-validation, in which every outer fold searches its own hyper-parameters.

It judges the whole procedure on all rows, and no row helps to choose the model that is judged on it (Varma and
Simon, BMC Bioinformatics 7, 2006). Intervals are corrected resampled t intervals (Nadeau and Bengio 2003).
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

from healthrisk import engine
from healthrisk.spec import DatasetSpec, Family
from healthrisk.training import cross_validation, metrics, search
from healthrisk.training.grouping import Groups
from healthrisk.training.record import CrossValidation

_log = logging.getLogger("healthrisk")


def nested(
    spec: DatasetSpec,
    families: Sequence[Family],
    part: tuple[NDArray[np.float64], NDArray[np.int64]],
    seed: int,
    repeats: int,
    groups: Groups | None = None,
) -> dict[Family, CrossValidation]:
    """Return each family's scores and intervals; logs a line a family and repeat."""
    matrix, y = part
    outer = cross_validation.splits(spec, y, seed + 1, repeats, groups)
    models = {family: search.Search(spec, family, seed, refit=True) for family in families}
    began = time.monotonic()
    results: dict[Family, CrossValidation] = {}
    with _processes():
        jobs = (joblib.delayed(_judge)(model, matrix, y, groups, fold) for model in models.values() for fold in outer)
        answers = joblib.Parallel(return_as="generator")(jobs)
        for family in families:
            scores: list[dict[str, float]] = []
            for repeat in range(repeats):
                scores += [next(answers) for _ in range(spec.selection.folds)]
                place = f"{repeat + 1}/{repeats}"
                _log.info("nested cross-validation of %s, %s: %.0f s so far", family, place, time.monotonic() - began)
            results[family] = cross_validation.summarize(spec, scores)
    return results


@contextmanager
def _processes() -> Iterator[None]:
    """Let joblib use processes, or a cluster, and end what it started.

    Searches take seconds, so processes are worth their start; threads would wait for the interpreter in turn.
    """
    try:
        with engine.parallel_config("loky", n_jobs=joblib.cpu_count(), inner_max_num_threads=1):
            yield
    finally:
        # They would wait five minutes for more work, and the end of a step's process for them.
        get_reusable_executor(reuse=True).shutdown(wait=True)


def _judge(
    model: BaseEstimator,
    matrix: NDArray[np.float64],
    y: NDArray[np.int64],
    groups: Groups | None,
    fold: cross_validation.Split,
) -> dict[str, float]:
    fit_on, held_out = fold
    fitted = clone(model).fit(matrix[fit_on], y[fit_on], None if groups is None else groups[fit_on])
    return metrics.score_all(y[held_out], fitted.predict_proba(matrix[held_out]))
