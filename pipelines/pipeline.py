"""The pipeline: how a table becomes a registered model."""

from kfp import dsl

from healthrisk.spec import FAMILIES
from healthrisk.steps.evaluate import evaluate
from healthrisk.steps.ingest import ingest
from healthrisk.steps.preprocess import preprocess
from healthrisk.steps.register import register
from healthrisk.steps.train import train
from healthrisk.steps.validate import validate


@dsl.pipeline(name="healthrisk-training", description="A clinical table to a registered, served risk model")
def training(spec: str, data: str = "", seed: int = 0) -> None:
    """Ingest, validate, preprocess, train three families, evaluate, register."""
    table = ingest(spec=spec, data=data).set_display_name("Ingest the table")
    checked = validate(spec=spec, table=table.outputs["table"]).set_display_name("Validate it")
    parts = preprocess(
        spec=spec, seed=seed, table=table.outputs["table"], checked=checked.outputs["results"]
    ).set_display_name("Split and preprocess")
    models = {
        family: train(
            spec=spec,
            family=family,
            seed=seed,
            table=parts.outputs["train"],
            preprocessor=parts.outputs["preprocessor"],
        )
        .set_display_name(f"Train {family.replace('_', ' ')}")
        .outputs["model"]
        for family in reversed(FAMILIES)
    }
    known = {
        "spec": spec,
        "train": parts.outputs["train"],
        "test": parts.outputs["test"],
        "record": table.outputs["record"],
    }
    judged = evaluate(seed=seed, **known, **models).set_display_name("Evaluate and choose")
    register(decision=judged.outputs["decision"], page=judged.outputs["page"], **known, **models).set_display_name(
        "Register the winner"
    ).set_caching_options(enable_caching=False)
