"""A spec as a pandera schema: types, which values may be missing, and the very rules that servers hold rows against."""

import numpy as np
import pandas as pd
import pandera.pandas as pa

from healthrisk.data.rules import Rules
from healthrisk.spec import Column, DatasetSpec


def schema(spec: DatasetSpec) -> pa.DataFrameSchema:
    """Return the schema of an ingested table; numbers are float64, missing values NaN or None."""
    rules, outcome = Rules(spec), pa.Check.isin(list(spec.target.index), name="allowed")
    return pa.DataFrameSchema(
        {
            **{column.name: _column(rules, place, column) for place, column in enumerate(spec.columns)},
            spec.target.name: pa.Column(object if spec.target.is_text else "int64", outcome),
        },
        strict=True,
        ordered=True,
    )


def _column(rules: Rules, place: int, column: Column) -> pa.Column:
    if column.is_text:
        return pa.Column(object, pa.Check.isin(list(column.meanings), name="allowed"), nullable=column.missing.allowed)

    def allowed(values: "pd.Series[float]") -> "pd.Series[bool]":
        fine: pd.Series[bool] = pd.Series(
            rules.allows(place, np.asarray(values, dtype=np.float64)), values.index, "bool"
        )
        return fine

    return pa.Column("float64", pa.Check(allowed, name="allowed"), nullable=column.missing.allowed)
