"""Steps in forked processes."""

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
    (tmp_path / "prepares.py").write_text(f"def prepare_step(): open({str(ready)!r}, 'w').close()")
    (tmp_path / "fails.py").write_text("def prepare_step(): raise RuntimeError('a full disk')")
    step = StepProcess("import fails, prepares", tmp_path / "events", tmp_path / "log")
    until(lambda: not step.is_importing())
    assert ready.exists()
    assert step.process.is_alive()
    step.process.terminate()
    step.process.join(ANSWER)
