"""The alert rules, by promtool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CASES = [Path(__file__).with_name(f"{name}-test.yaml") for name in ("alerts", "drift", "objectives")]
RULES = Path(__file__).parents[2] / "manifests" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("there is no promtool here: make test-tools")
    return path


# One after the other in one promtool, they would be evaluated as often as the first.
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_rules_fire_when_they_should_and_not_otherwise(promtool: str, case: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", case], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"]
        for rule in group["rules"]
    }
    parts = [test for path in CASES for test in yaml.safe_load(path.read_text())["tests"]]
    tests = [case for test in parts for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in tests if case.get("exp_alerts")} == alerts
    # One always fires.
    assert {case["alertname"] for case in tests if not case.get("exp_alerts")} == alerts - {"Watchdog"}
