"""Steps in forked processes."""

import multiprocessing
from pathlib import Path

import pytest

from healthrisk.steps.forked import StepProcess
from tests.support.patience import ANSWER, until


@pytest.mark.slow
def test_a_step_prepares_before_its_inputs_are_there_and_none_fails_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    ready = tmp_path / "ready"
    prepares = f"def prepare_step(): open({str(ready)!r}, 'w').write(multiprocessing.get_start_method())"
    (tmp_path / "prepares.py").write_text(f"import multiprocessing\n{prepares}")
    (tmp_path / "fails.py").write_text("def prepare_step(): raise RuntimeError('a full disk')")
    step = StepProcess("import fails, prepares", tmp_path / "events", tmp_path / "log")
    until(lambda: not step.is_importing())
    # As a step in a pod, and not as what forked it.
    assert ready.read_text() == multiprocessing.get_start_method()
    assert step.process.is_alive()
    step.process.terminate()
    step.process.join(ANSWER)
