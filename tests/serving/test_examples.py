"""The requests of kserve/README.md and kserve/examples work as they stand."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import http, patience
from tests.support.servers import ROOT, Pair

FOLDER = ROOT / "kserve"
README = (FOLDER / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if "$" in line
]


def run(command: str, pair: Pair) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"URL": pair.transformer.url, "GRPC": pair.transformer.grpc, "PATH": path}
    ended = patience.run(["bash", "-euc", command], cwd=FOLDER, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_example_is_in_the_readme() -> None:
    asked = {path.name for path in (FOLDER / "examples").iterdir() if path.is_file() and path.name in README}
    assert asked >= {path.name for path in (FOLDER / "examples").glob("heart-disease-*")} | {"ask_grpc.py"}
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme(heart_pair: Pair, command: str) -> None:
    printed = run(command, heart_pair)
    if "curl" not in command:
        assert re.search(r"^risk_level \[b'\w+', b'\w+'\]$", printed, re.MULTILINE), printed
        return
    answer = json.loads(printed)
    assert "error" not in answer
    if "infer" in command:
        assert list(json.loads(answer["parameters"]["imputed"]).values()) == [[1]]
        assert answer["outputs"][-1]["shape"] == [2]


def test_the_forms_say_the_same(heart_pair: Pair) -> None:
    levels = []
    for command in COMMANDS[1:4]:
        answer = json.loads(run(command, heart_pair))
        predictions = answer.get("predictions") or [{"risk_level": level} for level in answer["outputs"][-1]["data"]]
        levels.append([one["risk_level"] for one in predictions])
    assert levels[0] == levels[1] == levels[2]


def test_obesity(obesity_pair: Pair) -> None:
    body = (FOLDER / "examples" / "obesity-v2.json").read_bytes()
    answer = http.post(obesity_pair.infer_url, content=body).raise_for_status().json()
    assert [output["name"] for output in answer["outputs"]] == ["prediction", "probability", "risk_level"]
