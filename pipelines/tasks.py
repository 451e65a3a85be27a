"""The tasks of a compiled pipeline: which waits for which, what each runs, and with what inputs and outputs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

# Messages of KFP's protocol buffers, for which there are no types: a PipelineSpec, and what it consists of.
Message = Any


@dataclass(frozen=True)
class Task:
    """One task; its source, and the executor's arguments but for the input, are those that a pod would be given."""

    name: str
    title: str
    producers: frozenset[str]
    source: str
    arguments: tuple[str, ...]
    inputs: Message = field(repr=False)
    outputs: Message = field(repr=False)


class Run:
    """One run of a compiled pipeline, its artifacts in a sub-folder a task."""

    def __init__(self, pipeline: Message, parameters: Mapping[str, str | int], folder: Path) -> None:
        tasks = {name: _read(pipeline, name) for name in sorted(pipeline.root.dag.tasks)}
        order = TopologicalSorter({name: task.producers for name, task in tasks.items()}).static_order()
        # In an order in which they may run.
        self.tasks = tuple(tasks[name] for name in order)
        self._parameters, self._folder = parameters, folder

    def arguments(self, task: Task) -> list[str]:
        """Return the executor's arguments of a task whose producers have ended."""
        from google.protobuf import json_format

        filled = json_format.MessageToJson(self._executor_input(task), indent=None)
        # Python's protobuf writes a whole number as 0.0; Go's, of which a pod's launcher is made, as 0.
        filled = json.dumps(json.loads(filled, parse_float=_number))
        return [argument.replace("{{$}}", filled) for argument in task.arguments]

    def input_bytes(self, task: Task) -> int:
        """Return how large the files are that a task reads."""
        paths = [Path(artifact.uri) for artifact in self._artifacts(task).values()]
        files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
        return sum(file.stat().st_size for file in files if file.is_file())

    def _executor_input(self, task: Task) -> Message:
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2 as pb

        filled, folder = pb.ExecutorInput(), self._folder / task.name
        folder.mkdir(parents=True, exist_ok=True)
        for key, given in task.inputs.parameters.items():
            value = filled.inputs.parameter_values[key]
            if given.component_input_parameter:
                json_format.ParseDict(self._parameters[given.component_input_parameter], value)
            else:
                value.CopyFrom(given.runtime_value.constant)
        for key, artifact in self._artifacts(task).items():
            filled.inputs.artifacts[key].artifacts.append(artifact)
        for key, declared in task.outputs.artifacts.items():
            filled.outputs.artifacts[key].artifacts.add(name=key, uri=str(folder / key), type=declared.artifact_type)
        filled.outputs.output_file = str(self._output_file(task.name))
        return filled

    def _artifacts(self, task: Task) -> dict[str, Message]:
        """Return a task's input artifacts, as their producers' executors wrote them."""
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2 as pb

        artifacts = {}
        for key, given in task.inputs.artifacts.items():
            producer = given.task_output_artifact
            written = json_format.Parse(
                self._output_file(producer.producer_task).read_text("utf-8"), pb.ExecutorOutput()
            )
            (artifacts[key],) = written.artifacts[producer.output_artifact_key].artifacts
        return artifacts

    def _output_file(self, name: str) -> Path:
        return self._folder / name / "executor_output.json"


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _read(pipeline: Message, name: str) -> Task:
    task = pipeline.root.dag.tasks[name]
    component = pipeline.components[task.component_ref.name]
    container = pipeline.deployment_spec["executors"][component.executor_label]["container"]
    return Task(
        name=name,
        title=task.task_info.name,
        producers=frozenset(task.dependent_tasks),
        # Before it stands the shell's line that writes it to a file and calls the executor.
        source=container["command"][-1],
        arguments=tuple(container["args"]),
        inputs=task.inputs,
        outputs=component.output_definitions,
    )
