"""The threat model names what there is: modules, manifests, tests."""

import re
from pathlib import Path

import pytest

TABLE = "### What stands against it"


@pytest.fixture(scope="module")
def rows(root: Path) -> list[list[str]]:
    """The cells of the threat model's rows: attack, defence, places, tests."""
    text = (root / ".github" / "SECURITY.md").read_text().split(TABLE)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]


def test_every_place_exists(root: Path, rows: list[list[str]]) -> None:
    for attack, _, places, _ in rows:
        for place in re.findall("`([^`]+)`", places):
            there = (root / place, root / "components" / "healthrisk" / place)
            assert any(path.exists() for path in there), (attack, place)


def test_every_attack_has_tests_that_exist(root: Path, rows: list[list[str]]) -> None:
    assert len(rows) > 10
    for attack, _, _, tests in rows:
        named = re.findall("`([^`]+)`", tests)
        assert named, attack
        for one in named:
            file, _, function = one.partition("::")
            source = (root / file).read_text()
            assert re.search(rf"^(async )?def {function or 'test_'}", source, re.MULTILINE), (attack, one)
