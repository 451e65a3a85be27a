"""The step that holds a table against its spec."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def validate(
    spec: dsl.Input[dsl.Artifact],
    table: dsl.Input[dsl.Dataset],
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Check schema, types, ranges, codes, duplicates, missing values, class balance and the encoding of the target.

    Args:
        spec: The dataset spec, as ingest wrote it.
        table: The ingested table.
        results: Every check's verdict and every column's summary, as JSON.
        page: The same as a page with plots.
    """
    from pathlib import Path

    from healthrisk.data.validate import validate
    from healthrisk.reports.table_report import render
    from healthrisk.steps import titles
    from healthrisk.steps.artifacts import read_spec
    from healthrisk.steps.context import step_context

    with step_context(titles.VALIDATE, spec) as log:
        parsed = read_spec(spec)
        report = validate(parsed, Path(table.path))
        report.write(Path(results.path))
        Path(page.path).write_text(render(parsed, report))
        for check in report.checks:
            if check.status == "warn":
                log.info("warning: %s", check.message)
        report.raise_if_failed()
        log.info("%s checks passed", sum(check.status == "pass" for check in report.checks))
