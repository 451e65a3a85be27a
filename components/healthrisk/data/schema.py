"""A spec's columns as a pandera schema: types, ranges, codes, and which values may be missing."""

import pandas as pd
import pandera.pandas as pa

from healthrisk.spec import Column, DatasetSpec


def schema(spec: DatasetSpec) -> pa.DataFrameSchema:
    """Return the schema of an ingested table; numbers are float64, missing values NaN or None."""
    outcome = pa.Check.isin(list(spec.target.index), name="allowed")
    return pa.DataFrameSchema(
        {
            **{column.name: _column(column) for column in spec.columns},
            spec.target.name: pa.Column(object if spec.target.is_text else "int64", outcome),
        },
        strict=True,
        ordered=True,
    )


def _column(column: Column) -> pa.Column:
    if column.range is None:
        checks = [pa.Check.isin(list(column.meanings), name="allowed")]
    else:
        checks = [pa.Check.in_range(*column.range, name="allowed")]
        if column.kind == "integer":
            checks.append(pa.Check(_whole, name="whole"))
    return pa.Column(object if column.is_text else "float64", checks, nullable=column.missing.allowed)


def _whole(values: "pd.Series[float]") -> "pd.Series[bool]":
    return values == values.round()
