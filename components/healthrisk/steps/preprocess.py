"""The step that splits a table."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def preprocess(
    spec: dsl.Input[dsl.Artifact],
    seed: int,
    table: dsl.Input[dsl.Dataset],
    checked: dsl.Input[dsl.Artifact],
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    preprocessor: dsl.Output[dsl.Artifact],
) -> None:
    """Split 80/20 by class and fit the preprocessor on the training part alone.

    Args:
        spec: The dataset spec, as ingest wrote it.
        seed: The seed of the split.
        table: The ingested table.
        checked: The validation's results: a table that was not checked is not split.
        train: The training part, encoded, as Parquet.
        test: The hold-out, encoded, as Parquet.
        preprocessor: A folder with the fitted preprocessor, as JSON and as joblib.
    """
    from pathlib import Path

    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_spec
    from healthrisk.steps.context import step_context
    from healthrisk.training.split import write_split

    with step_context(titles.PREPROCESS, spec) as log:
        parsed = read_spec(spec)
        sizes = write_split(parsed, Path(table.path), seed, Path(train.path), Path(test.path), Path(preprocessor.path))
        log.info("%s rows for training, %s held out", *sizes)
