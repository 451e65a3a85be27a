"""The README's commands work and print what it says they print."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.patience import run
from tests.support.runs import TRAIN_AGAIN, TRAIN_OWN, make

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_make_run_prints_what_the_readme_shows(home: Path) -> None:
    assert "make run" in COMMANDS
    printed = (home / "summary.txt").read_text()
    (shown,) = re.findall(r"```text\n(Heart disease.*?)```", README, re.DOTALL)
    # What differs from machine to machine: paths, ports and digests.
    same = [
        line
        for line in shown.splitlines()
        if line and not line.startswith(("bundle", "report", "table", "cards", "MLflow", "POST", "asked"))
    ]
    assert len(same) > 8
    for line in same:
        assert line in printed
    served, offline = (re.search(rf"{who} .*\"probability\": \[(.*?)\]", printed) for who in ("served", "offline"))
    assert served
    assert offline
    assert [float(p) for p in served[1].split(",")] == pytest.approx(
        [float(p) for p in offline[1].split(",")], abs=1e-6
    )
    assert (home / "errors.txt").read_text() == ""


def test_every_make_target_it_names_exists(root: Path, tmp_path: Path) -> None:
    targets = set(re.findall(r"`?make ([a-z-]+)", README))
    assert {"run", "test", "serve", "mlflow", "help"} <= targets
    listed = make(tmp_path, "help").stdout
    for target in targets:
        assert re.search(rf"^{target} ", listed, re.MULTILINE), target


def test_its_command_for_an_own_table_works(own_home: Path) -> None:
    assert TRAIN_OWN in COMMANDS
    assert list((own_home / "bundles" / "readmission").iterdir())


def test_its_other_python_commands_work(root: Path, home: Path, tmp_path: Path) -> None:
    """But the one that trains again, which tests/pipelines/test_second_run.py runs."""
    assert TRAIN_AGAIN in COMMANDS
    shutil.copy(root / "components/healthrisk/datasets/heart-disease.csv", tmp_path / "my-patients.csv")
    (tmp_path / "my-bundle").symlink_to(next((home / "bundles" / "heart-disease").iterdir()))
    commands = [
        line.split() for line in COMMANDS if line.startswith("python ") and line not in {TRAIN_OWN, TRAIN_AGAIN}
    ]
    assert len(commands) == 3
    printed = []
    for _, *arguments in commands:
        environment = {**os.environ, "HEALTHRISK_HOME": str(tmp_path / "home")}
        words = [root / part if part.endswith(".py") else part for part in arguments]
        done = run([sys.executable, *words], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    assert json.loads(printed[-1])["verdict"] == "stable"
    assert (tmp_path / "pipeline.yaml").is_file()
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 304


def test_every_path_it_links_or_lists_exists(root: Path) -> None:
    links = list(re.findall(r"\]\((?!http)([^)]+)\)", README))
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        assert (root / path).exists(), link
        headings = re.findall(r"^#+ (.+)$", (root / path).read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, link
    (tree,) = re.findall(r"```text\n(components/.*?)```", README, re.DOTALL)
    folders: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0]
        folders = [*folders[: (len(line) - len(line.lstrip())) // 2], name]
        assert root.joinpath(*folders).exists(), folders
