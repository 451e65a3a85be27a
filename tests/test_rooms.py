"""The library's rooms: few modules at the root, and a README that knows every room."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "components" / "healthrisk"
ROOMS = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}


def test_the_root_holds_what_all_share() -> None:
    assert len({path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}) <= 8


def test_the_readme_names_every_room_and_no_other() -> None:
    (table,) = re.findall(r"\| room \|.*?\n\n", (LIBRARY.parent / "README.md").read_text(), re.DOTALL)
    named = {name for row in table.strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == ROOMS


def test_every_room_says_what_it_may_import() -> None:
    for room in ROOMS:
        assert "mports" in (LIBRARY / room / "__init__.py").read_text().split('"""')[1], room
