"""The step that brings a table in."""

from kfp import dsl

from healthrisk.steps.component import component


@component
def ingest(
    spec: str,
    data: str,
    dataset_spec: dsl.Output[dsl.Artifact],
    table: dsl.Output[dsl.Dataset],
    record: dsl.Output[dsl.Artifact],
) -> None:
    """Read the spec's source, or `data` where it is given, into Parquet.

    Args:
        spec: The dataset spec as JSON.
        data: A path or address of a file or of fragments of the spec's schema; empty for the spec's own sources.
        dataset_spec: The spec as JSON, for the other steps: as a parameter of each of them it would make a run's record
            longer than Kubeflow Pipelines can read.
        table: The table as Parquet.
        record: Source, digest and size of the table, as JSON.
    """
    from pathlib import Path

    from healthrisk.data.ingest import ingest
    from healthrisk.spec import DatasetSpec
    from healthrisk.steps import titles
    from healthrisk.steps.context import step_context

    with step_context(titles.INGEST, spec) as log:
        parsed = DatasetSpec.parse(spec)
        Path(dataset_spec.path).write_text(parsed.to_json())
        read = ingest(parsed, data, Path(table.path))
        read.write(Path(record.path))
        log.info("%s rows from %s", read.rows, read.source)
        table.metadata.update(rows=read.rows, source=read.source, sha256=read.sha256)
