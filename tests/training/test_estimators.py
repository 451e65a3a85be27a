"""Models fitted side by side, in threads or in processes: the same ones, and nothing of it stays."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest

from healthrisk import engine
from healthrisk import spec as specs
from healthrisk.training import estimators
from healthrisk.training.cross_validation import cross_validate, splits
from healthrisk.training.search import Search
from tests.support import sample_bundle
from tests.support.patience import ANSWER, until

CORES = 2


def test_forests_fitted_in_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = specs.load("heart-disease")
    spec = chosen.model_copy(update={"selection": chosen.selection.model_copy(update={"repeats": 1})})
    matrix, y = sample_bundle.rows_of(spec, 0)
    answers = []
    for count in (1, CORES):
        monkeypatch.setattr(engine, "side_by_side", lambda count=count: count)
        with estimators.parallel("random_forest", matrix):
            searched = Search(spec, "random_forest", 0).fit(matrix, y)
            model = estimators.make_model(spec, "random_forest", 0, {"n_estimators": 10})
            answers.append((searched.record, *cross_validate(spec, model, matrix, y, splits(spec, y, 1))))
    (alone, scores, pooled), (beside, *others) = answers
    assert alone == beside
    assert scores == others[0]
    assert np.array_equal(pooled, others[1])


def test_a_process_that_is_not_forked_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.side_by_side() == joblib.cpu_count()
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    assert engine.side_by_side() == 1


def fit_forever(folder: Path) -> None:
    """Fit side by side until killed; each process of it leaves a file of its number."""
    with joblib.parallel_config("multiprocessing", n_jobs=CORES):
        joblib.Parallel()(joblib.delayed(sleep_shortly)(folder) for _ in range(10**6))


def sleep_shortly(folder: Path) -> None:
    """Stand for a fit."""
    (folder / str(os.getpid())).touch()
    time.sleep(0.1)


def test_the_processes_of_a_killed_one_end(tmp_path: Path) -> None:
    killed = multiprocessing.get_context("fork").Process(target=fit_forever, args=(tmp_path,))
    killed.start()
    numbers = until(lambda: found if len(found := [int(path.name) for path in tmp_path.iterdir()]) >= CORES else None)
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join(ANSWER)
    until(lambda: not any(map(is_running, numbers)))


def is_running(number: int) -> bool:
    """Say whether a process still runs; one that nobody has asked for its end does not."""
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
