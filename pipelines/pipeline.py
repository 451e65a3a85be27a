"""The pipeline: how a table becomes a registered model."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from healthrisk.spec import FAMILIES
from healthrisk.steps import titles
from healthrisk.steps.evaluate import evaluate
from healthrisk.steps.evidence import evidence
from healthrisk.steps.ingest import ingest
from healthrisk.steps.preprocess import preprocess
from healthrisk.steps.register import register
from healthrisk.steps.train import train
from healthrisk.steps.validate import validate

NAME = "healthrisk-training"


def wire(
    spec: str, data: str, seed: int, level: str, rollout: str, override_gate: str, override_by: str
) -> list[dsl.PipelineTask]:
    """Wire the steps within a pipeline; return the tasks, of which the last registers the winner."""
    table = ingest(spec=spec, data=data).set_display_name(titles.INGEST)
    read = table.outputs["dataset_spec"]
    checked = validate(spec=read, table=table.outputs["table"]).set_display_name(titles.VALIDATE)
    parts = preprocess(
        spec=read, seed=seed, table=table.outputs["table"], checked=checked.outputs["results"]
    ).set_display_name(titles.PREPROCESS)
    trained = {
        family: train(
            spec=read,
            family=family,
            seed=seed,
            table=parts.outputs["train"],
            preprocessor=parts.outputs["preprocessor"],
        ).set_display_name(titles.train(family))
        for family in reversed(FAMILIES)
    }
    models = {str(family): task.outputs["model"] for family, task in trained.items()}
    known: dict[str, Any] = {"spec": read, "train": parts.outputs["train"], "test": parts.outputs["test"], **models}
    record = table.outputs["record"]
    chosen = evaluate(seed=seed, **known).set_display_name(titles.EVALUATE)
    how: dict[str, Any] = {"seed": seed, "level": level, "override_gate": override_gate, "override_by": override_by}
    judged = evidence(record=record, decision=chosen.outputs["decision"], **how, **known)
    judged.set_display_name(titles.EVIDENCE)
    written = {"decision": judged.outputs["judged"], **{name: judged.outputs[name] for name in ("page", "plots")}}
    registered = register(record=record, rollout=rollout, **written, **known)
    registered.set_display_name(titles.REGISTER).set_caching_options(enable_caching=False)
    return [table, checked, parts, *trained.values(), chosen, judged, registered]


def define(finish: Callable[[list[dsl.PipelineTask], str, str], None]) -> Any:
    """Return KFP's pipeline; `finish` adds what a place needs to the tasks, given models' namespace and the rollout."""

    @dsl.pipeline(name=NAME, description="A clinical table to a registered, served risk model")  # type: ignore[untyped-decorator]
    def training(
        spec: str,
        data: str = "",
        seed: int = 0,
        level: str = "quick",
        rollout: str = "",
        namespace: str = "healthrisk",
        override_gate: str = "",
        override_by: str = "",
    ) -> None:
        finish(wire(spec, data, seed, level, rollout, override_gate, override_by), namespace, rollout)

    return training
