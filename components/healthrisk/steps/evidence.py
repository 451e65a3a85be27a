"""The step that gathers evidence on the winner and writes the report."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def evidence(
    spec: dsl.Input[dsl.Artifact],
    seed: int,
    level: str,
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
    from pathlib import Path

    from healthrisk.config import level as read_level
    from healthrisk.data.ingest import IngestRecord
    from healthrisk.evidence.gather import add_gates, gather
    from healthrisk.reports.evidence_files import write_report
    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_models, read_parts, read_spec
    from healthrisk.steps.context import step_context
    from healthrisk.training.decision import Decision
    from healthrisk.training.split import read_common

    with step_context(titles.EVIDENCE, spec) as log:
        parsed = read_spec(spec)
        models = read_models(logistic_regression, random_forest, gradient_boosting)
        decided = Decision.read(Path(decision.path))
        common = read_common(Path(train.path), Path(test.path))
        parts = read_parts(parsed, train, test)
        gathered = gather(parsed, models, decided.winner, *parts, seed, read_level(level), *common)
        decided = add_gates(parsed, decided, gathered)
        decided.write(Path(judged.path))
        gathered.write(Path(document.path))
        data = IngestRecord.read(Path(record.path))
        write_report(parsed, decided, gathered, data, Path(page.path), Path(plots.path), Path(cards.path))
        log.info("the report is written (%s)", level)
