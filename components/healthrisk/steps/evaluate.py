"""The step that compares the models and chooses one."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def evaluate(
    spec: dsl.Input[dsl.Artifact],
    seed: int,
    train: dsl.Input[dsl.Dataset],
    test: dsl.Input[dsl.Dataset],
    logistic_regression: dsl.Input[dsl.Model],
    random_forest: dsl.Input[dsl.Model],
    gradient_boosting: dsl.Input[dsl.Model],
    decision: dsl.Output[dsl.Artifact],
    scores: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Measure every model on both parts, name the winner and hold it against the spec's gates.

    Args:
        spec: The dataset spec, as ingest wrote it.
        seed: The seed of resampling.
        train: The training part, encoded.
        test: The hold-out, encoded.
        logistic_regression: The trained model of that family.
        random_forest: The trained model of that family.
        gradient_boosting: The trained model of that family.
        decision: All figures, the winner, the rule and the gates, as JSON.
        scores: The winner's figures.
        curves: The winner's confusion matrix and, with two classes, its ROC curve.
    """
    from pathlib import Path

    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_models, read_parts, read_spec
    from healthrisk.steps.context import step_context
    from healthrisk.training.evaluate import evaluate

    with step_context(titles.EVALUATE, spec) as log:
        parsed = read_spec(spec)
        models = read_models(logistic_regression, random_forest, gradient_boosting)
        decided = evaluate(parsed, models, *read_parts(parsed, train, test), seed)
        decided.write(Path(decision.path))
        for name, value in decided.winning.test.scores.items():
            scores.log_metric(f"test_{name}", value)
        confusion = [list(row) for row in decided.winning.test.confusion]
        curves.log_confusion_matrix([cls.name for cls in parsed.target.classes], confusion)
        if parsed.is_binary:
            roc = next(iter(decided.winning.curves.values())).roc
            curves.log_roc_curve(list(roc.fpr), list(roc.tpr), list(roc.thresholds))
        log.info("the winner is %s", decided.winner)
