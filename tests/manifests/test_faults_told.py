"""The table of what fails: every row names a test that is there, and an alert that is one; every alert has its row."""

import ast
import re

import yaml

from tests.support.manifest_rules import ROOT

README = ROOT / "manifests" / "README.md"
RULES = ROOT / "manifests" / "prometheus" / "alerts.yaml"


def rows() -> list[list[str]]:
    section = README.read_text().split("## What fails, what happens, who is told\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_row_names_a_test_that_is_there() -> None:
    assert len(rows()) > 20
    for row in rows():
        tests = re.findall(r"`([\w/]+\.py)::(\w+)`", row[3])
        assert tests, row[0]
        for path, name in tests:
            module = ast.parse((ROOT / "tests" / path).read_text())
            assert name in {one.name for one in module.body if isinstance(one, ast.FunctionDef)}, (path, name)


def test_every_alert_has_a_row_and_every_row_an_alert_that_is_one() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    ruled = {rule["alert"] for group in groups for rule in group["rules"]}
    sources = [path.read_text() for path in (ROOT / "components" / "healthrisk" / "operations").glob("*.py")]
    pushed = {name for text in sources for name in re.findall(r'Alert\(\s*name="(\w+)"', text)}
    named = {name for row in rows() for name in re.findall(r"`([A-Z]\w+)`", row[2])}
    assert named == (ruled - {"Watchdog"}) | pushed
