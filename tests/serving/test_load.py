"""The load profile finds its requests by itself, and its objectives pass and fail."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import run
from tests.support.servers import ROOT, Pair

LOCUST = ROOT / ".tools" / "load" / "bin" / "locust"
pytestmark = pytest.mark.skipif(not LOCUST.exists(), reason="there is no locust here: make test-tools")


def load(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [LOCUST, f"--locustfile={ROOT}/tests/load/locustfile.py", "--headless", "--only-summary"]
    command += [f"--host={url}", "--users=4", "--spawn-rate=4", "--run-time=5", "--stop-timeout=5", *options]
    return run(command)


def test_objectives_pass(obesity_pair: Pair) -> None:
    ended = load(obesity_pair.transformer.url, "--least-rate=0.2")
    judged = [line.split("  ")[0] for line in ended.stdout.splitlines() if line.startswith(("pass", "FAIL"))]
    assert len(judged) >= 5, ended.stderr
    assert judged[:2] == ["pass", "pass"], ended.stdout
    assert ended.returncode == (1 if "FAIL" in judged else 0)


def test_objectives_fail(make_bundle: Callable[..., Path], start_pair: Callable[..., Any]) -> None:
    pair: Pair = start_pair(make_bundle("heart-disease", "logistic_regression"))
    try:
        pair.predictor.end(signal.SIGKILL)
        ended = load(pair.transformer.url, "--least-rate=0.2")
    finally:
        pair.transformer.end()
        pair.predictor.end()
    assert ended.returncode == 1
    assert "FAIL  failures" in ended.stdout
    assert "overloaded" in ended.stdout + ended.stderr
