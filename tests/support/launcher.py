"""The committed pipeline, and what a cluster does with its commands."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.support import forked
from tests.support.patience import run

GOLDEN = Path(__file__).parents[2] / "pipelines" / "training.yaml"
# The pipeline, and what its tasks' pods get on a cluster.
IR, PLATFORM = (dict[str, Any](document) for document in yaml.safe_load_all(GOLDEN.read_text()))
STEP_IMPORTS = ("tests.support.step_imports",)


class Launcher:
    """Does what KFP's launcher does in a pod: fills in a task's inputs, runs its command, reads what it put out.

    `within` turns a command into one that runs it somewhere else, such as in an image.
    """

    def __init__(
        self, parameters: dict[str, Any], folder: Path, within: Callable[[list[str]], list[str]] = list
    ) -> None:
        self.parameters, self.folder, self.within = parameters, folder, within
        self.artifacts: dict[tuple[str, str], dict[str, Any]] = {}

    def run_all(self, fork: bool = False) -> None:
        """Run every task but deploy, which takes a cluster, each after its producers.

        With `fork` all but the first are forked: their commands differ from its in nothing but the source.
        """
        waiting = {name: task for name, task in IR["root"]["dag"]["tasks"].items() if name != "deploy"}
        done: set[str] = set()
        while waiting:
            name = next(name for name, task in waiting.items() if set(task.get("dependentTasks", ())) <= done)
            self.run(name, fork and bool(done))
            done.add(name)
            del waiting[name]

    def command(self, name: str) -> tuple[list[str], dict[str, str], Path]:
        """Return the command of a task, its environment, and the file in which it will say what it put out."""
        task = IR["root"]["dag"]["tasks"][name]
        component = IR["components"][task["componentRef"]["name"]]
        container = IR["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        executor_input = self._input(name, task, component)
        command = [*container["command"], *container["args"]]
        filled = [part.replace("{{$}}", json.dumps(executor_input)) for part in command]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "HEALTHRISK_HOME": str(self.folder / "home")}
        return self.within(filled), environment, Path(executor_input["outputs"]["outputFile"])

    def python_command(self, name: str) -> tuple[list[str], dict[str, str], Path]:
        """Return the same, but of Python what the command of the shell starts: its line writes the source to a file."""
        (_, _, _, source, *arguments), environment, output_file = self.command(name)
        path = self.folder / name / "ephemeral_component.py"
        path.write_text(source)
        command = [sys.executable, "-m", "kfp.dsl.executor_main", "--component_module_path", str(path), *arguments]
        return command, {**environment, "_KFP_RUNTIME": "true"}, output_file

    def run(self, name: str, fork: bool = False) -> None:
        """Run a task whose producers have run."""
        command, environment, output_file = self.python_command(name) if fork else self.command(name)
        if fork:
            done = forked.run(command, STEP_IMPORTS, cwd=self.folder, env=environment)
        else:
            done = run(command, cwd=self.folder, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        written = json.loads(output_file.read_text())
        for output, artifacts in written.get("artifacts", {}).items():
            self.artifacts[name, output] = artifacts["artifacts"][0]

    def _input(self, name: str, task: dict[str, Any], component: dict[str, Any]) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        artifacts: dict[str, Any] = {}
        for key, given in task["inputs"].get("parameters", {}).items():
            constant = given.get("runtimeValue", {}).get("constant")
            parameters[key] = self.parameters[given["componentInputParameter"]] if constant is None else constant
        for key, given in task["inputs"].get("artifacts", {}).items():
            producer = given["taskOutputArtifact"]
            artifact = self.artifacts[producer["producerTask"], producer["outputArtifactKey"]]
            artifacts[key] = {"artifacts": [artifact]}
        outputs = {
            key: {"artifacts": [self._output(name, key, declared["artifactType"])]}
            for key, declared in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        return {
            "inputs": {"parameterValues": parameters, "artifacts": artifacts},
            "outputs": {"artifacts": outputs, "outputFile": str(self.folder / name / "executor_output.json")},
        }

    def _output(self, name: str, key: str, kind: dict[str, Any]) -> dict[str, Any]:
        (self.folder / name).mkdir(exist_ok=True)
        # In an image another user writes here.
        (self.folder / name).chmod(0o777)
        return {"name": key, "uri": str(self.folder / name / key), "type": kind, "metadata": {}}
