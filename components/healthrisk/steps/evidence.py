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
    from healthrisk.registry.provenance import code_origin
    from healthrisk.reports.model_card import write_cards
    from healthrisk.reports.model_report import model_plots, render, save_plots
    from healthrisk.spec import DatasetSpec
    from healthrisk.steps import titles
    from healthrisk.steps.context import step_context
    from healthrisk.training.decision import Decision
    from healthrisk.training.split import read_common, read_split
    from healthrisk.training.train import Trained

    with step_context(titles.EVIDENCE) as log:
        parsed = DatasetSpec.parse(Path(spec.path).read_text())
        models = [Trained.load(Path(each.path)) for each in (logistic_regression, random_forest, gradient_boosting)]
        parts = read_split(parsed, Path(train.path)), read_split(parsed, Path(test.path))
        decided = Decision.read(Path(decision.path))
        groups, sites = read_common(Path(train.path), Path(test.path))
        gathered = gather(parsed, models, decided.winner, *parts, seed, read_level(level), groups, sites)
        decided = add_gates(parsed, decided, gathered)
        data = IngestRecord.read(Path(record.path))
        decided.write(Path(judged.path))
        gathered.write(Path(document.path))
        drawn = {model.family: model_plots(parsed, decided, model.family) for model in models}
        save_plots(drawn, Path(plots.path))
        Path(page.path).write_text(render(parsed, decided, gathered, data, code_origin(), drawn[decided.winner]))
        write_cards(parsed, decided, gathered, code_origin(), Path(cards.path))
        log.info("the report is written (%s)", level)
