"""The step that trains one family of models."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def train(
    spec: dsl.Input[dsl.Artifact],
    family: str,
    seed: int,
    table: dsl.Input[dsl.Dataset],
    preprocessor: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
) -> None:
    """Search hyper-parameters, cross-validate and fit.

    Args:
        spec: The dataset spec, as ingest wrote it.
        family: logistic_regression, random_forest or gradient_boosting.
        seed: The seed of folds and models.
        table: The training part, encoded.
        preprocessor: The preprocessor fitted on it.
        model: A folder with scikit-learn's objects, the training record and the out-of-fold probabilities.
    """
    from pathlib import Path
    from typing import cast

    import joblib

    from healthrisk.spec import Family
    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_spec
    from healthrisk.steps.context import step_context
    from healthrisk.training.split import read_groups, read_split
    from healthrisk.training.train import train

    with step_context(titles.train(cast(Family, family)), spec) as log:
        parsed = read_spec(spec)
        fitted = joblib.load(Path(preprocessor.path) / "preprocessor.joblib")
        groups = read_groups(Path(table.path))
        # Kept by nobody here, so that it need not stay in memory while the model is fitted.
        trained = train(parsed, cast(Family, family), fitted, read_split(parsed, Path(table.path)), seed, groups)
        trained.save(Path(model.path), Path(preprocessor.path) / "preprocessor.joblib")
        metric = parsed.selection.metric
        score = trained.record.cross_validation.intervals[metric.name]
        log.info("cross-validated %s %.3f (%.3f to %.3f)", metric.phrase, score.mean, score.low, score.high)
        model.metadata.update(family=family, **{metric.name: score.mean})
