"""The tasks of a compiled pipeline: which waits for which, what each runs, and with what inputs and outputs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One task; its source, and the executor's arguments but for the input, are those that a pod would be given."""

    name: str
    title: str
    producers: frozenset[str]
    source: str
    arguments: tuple[str, ...]
    inputs: dict[str, Any] = field(repr=False)
    outputs: dict[str, Any] = field(repr=False)


class Run:
    """One run of a compiled pipeline, its artifacts in a sub-folder a task."""

    def __init__(self, pipeline: dict[str, Any], parameters: dict[str, Any], folder: Path) -> None:
        self.tasks = tuple(_read(pipeline, name) for name in sorted(pipeline["root"]["dag"]["tasks"]))
        self._parameters, self._folder = parameters, folder

    def arguments(self, task: Task) -> list[str]:
        """Return the executor's arguments of a task whose producers have ended."""
        filled = json.dumps(self._executor_input(task))
        return [argument.replace("{{$}}", filled) for argument in task.arguments]

    def input_bytes(self, task: Task) -> int:
        """Return how large the files are that a task reads."""
        paths = [Path(artifact["uri"]) for artifact in self._artifacts(task).values()]
        files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
        return sum(file.stat().st_size for file in files if file.is_file())

    def _executor_input(self, task: Task) -> dict[str, Any]:
        folder = self._folder / task.name
        folder.mkdir(parents=True, exist_ok=True)
        put_out = {
            key: {"artifacts": [{"name": key, "uri": str(folder / key), "type": declared["artifactType"]}]}
            for key, declared in task.outputs.get("artifacts", {}).items()
        }
        return {
            "inputs": {
                "parameterValues": {
                    key: self._parameter(given) for key, given in task.inputs.get("parameters", {}).items()
                },
                "artifacts": {key: {"artifacts": [artifact]} for key, artifact in self._artifacts(task).items()},
            },
            "outputs": {"artifacts": put_out, "outputFile": str(self._output_file(task.name))},
        }

    def _parameter(self, given: dict[str, Any]) -> Any:
        if "componentInputParameter" in given:
            return self._parameters[given["componentInputParameter"]]
        return given["runtimeValue"]["constant"]

    def _artifacts(self, task: Task) -> dict[str, dict[str, Any]]:
        """Return a task's input artifacts, as their producers' executors wrote them."""
        artifacts = {}
        for key, given in task.inputs.get("artifacts", {}).items():
            producer = given["taskOutputArtifact"]
            written = json.loads(self._output_file(producer["producerTask"]).read_text("utf-8"))
            (artifacts[key],) = written["artifacts"][producer["outputArtifactKey"]]["artifacts"]
        return artifacts

    def _output_file(self, name: str) -> Path:
        return self._folder / name / "executor_output.json"


def _read(pipeline: dict[str, Any], name: str) -> Task:
    task = pipeline["root"]["dag"]["tasks"][name]
    component = pipeline["components"][task["componentRef"]["name"]]
    container = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    return Task(
        name=name,
        title=task["taskInfo"]["name"],
        producers=frozenset(task.get("dependentTasks", ())),
        # Before it stands the shell's line that writes it to a file and calls the executor.
        source=container["command"][-1],
        arguments=tuple(container["args"]),
        inputs=task["inputs"],
        outputs=component.get("outputDefinitions", {}),
    )
