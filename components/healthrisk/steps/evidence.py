"""The step that gathers evidence on the winner and writes the report."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def evidence(
    spec: dsl.Input[dsl.Artifact],
    seed: int,
    level: str,
    override_gate: str,
    override_by: str,
    train: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    record: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    logistic_regression: dsl.Input[dsl.Model],
    random_forest: dsl.Input[dsl.Model],
    gradient_boosting: dsl.Input[dsl.Model],
    judged: dsl.Output[dsl.Artifact],
    document: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    cards: dsl.Output[dsl.Artifact],
    plots: dsl.Output[dsl.Artifact],
) -> None:
    """Judge the winner's calibration, subgroups, labels, explanation and other sites; in full, its robustness, too.

    Args:
        spec: The dataset spec, as ingest wrote it.
        seed: The seed of resampling.
        level: quick, or full with nested cross-validation, robustness and downloads.
        override_gate: Why the winner may be registered although a gate fails; empty where it may not.
        override_by: Who says so; empty where the run's own account does.
        train: The training part, encoded.
        test: The hold-out, encoded.
        record: What ingest wrote of the table's origin.
        decision: What evaluate decided.
        logistic_regression: The trained model of that family.
        random_forest: The trained model of that family.
        gradient_boosting: The trained model of that family.
        judged: The decision with the evidence's gates.
        document: The evidence, as JSON.
        page: The report.
        cards: The same for machines: CHAI's model card as XML, HTI-1's source attributes as JSON.
        plots: A folder of PNG plots for each family.
    """
    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_models
    from healthrisk.steps.context import step_context
    from healthrisk.steps.judging import judge_winner

    with step_context(titles.EVIDENCE, spec) as log:
        models = read_models(logistic_regression, random_forest, gradient_boosting)
        winner = judge_winner(spec, models, decision, train, test, seed, level, (override_gate, override_by))
        winner.write(judged, document)
        winner.report(record, page, plots, cards)
        log.info("the report is written (%s)", level)
        if override := winner.decision.override:
            log.warning("gates %s", override.statement)
