"""The step that turns the winner into a registered bundle."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def register(
    spec: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    record: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    page: dsl.Input[dsl.HTML],
    plots: dsl.Input[dsl.Artifact],
    logistic_regression: dsl.Input[dsl.Model],
    random_forest: dsl.Input[dsl.Model],
    gradient_boosting: dsl.Input[dsl.Model],
    registration: dsl.Output[dsl.Artifact],
    rollout: str = "",
) -> None:
    """Log the runs, build and store the winner's bundle, register its version and give it an alias.

    Args:
        spec: The dataset spec, as ingest wrote it.
        train: The training part, encoded.
        test: The hold-out, encoded.
        record: What ingest wrote of the table's origin.
        decision: What evaluate decided.
        page: The report.
        plots: A folder of PNG plots for each family.
        logistic_regression: The trained model of that family.
        random_forest: The trained model of that family.
        gradient_boosting: The trained model of that family.
        registration: The registered version, its alias and its bundle, as JSON.
        rollout: The weights by which it is to come in, such as 1,10,50,100; empty: it takes the champion's place.
    """
    from pathlib import Path

    from healthrisk.data.ingest import IngestRecord
    from healthrisk.registry.register import register_winner
    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_spec
    from healthrisk.steps.context import step_context
    from healthrisk.training.decision import Decision

    with step_context(titles.REGISTER, spec) as log:
        registered = register_winner(
            read_spec(spec),
            parts=[Path(train.path), Path(test.path)],
            record=IngestRecord.read(Path(record.path)),
            decision=Decision.read(Path(decision.path)),
            page=Path(page.path).read_text(),
            plots=Path(plots.path),
            models=[Path(folder.path) for folder in (logistic_regression, random_forest, gradient_boosting)],
            by_rollout=bool(rollout),
        )
        registered.write(Path(registration.path))
        log.info("version %s is %s: %s", registered.version, registered.alias, registered.reason)
