"""The training part and the hold-out as files: encoded Parquet tables, written and read in bounded memory."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from healthrisk import engine
from healthrisk.data import encoding, tables
from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing
from healthrisk.training.grouping import Groups
from healthrisk.training.sampling import Part
from healthrisk.training.sides import Sides, sides_of

# No column of a spec begins like these.
_GROUP, _SITE = "_group", "_site"


def write_split(
    spec: DatasetSpec, table: Path, seed: int, train: Path, test: Path, preprocessor: Path
) -> tuple[int, int]:
    """Split a validated table, fit the preprocessor on its training part, and write both sides and a folder.

    Each side of a table in parts is in parts, too. The folder holds the fitted preprocessor as JSON and as joblib.
    Returns the sizes of training part and hold-out.

    Raises:
        TrainingError: the table cannot be split by class.
    """
    parts = tables.parts(table)
    rows = [tables.count_rows(part) for part in parts]
    firsts = [0, *itertools.accumulate(rows[:-1])]
    places = zip(tables.places_like(table, train), tables.places_like(table, test), strict=True)
    with (
        engine.connect(table, train.parent, test.parent) as tasks,
        sides_of(spec, table, rows, seed, train.parent, tasks) as sides,
    ):
        jobs = (
            _Job(spec, part, first, sides.part(first, count), *to)
            for part, first, count, to in zip(parts, firsts, rows, places, strict=True)
        )
        written = list(tasks.map(_split_part, jobs))
    sizes = np.sum([part.sizes for part in written], axis=0)
    _check_classes(spec, sizes)
    fitted, serving = preprocessing.fit(spec, np.concatenate([part.fitted_on for part in written]))
    preprocessor.mkdir(parents=True, exist_ok=True)
    joblib.dump(fitted, preprocessor / "preprocessor.joblib")
    (preprocessor / "preprocessor.json").write_text(serving.to_json(), "utf-8")
    return int(sizes[0].sum()), int(sizes[1].sum())


@dataclass(frozen=True)
class _Job:
    """A part of a table that begins with the row numbered `first`, the sides of its rows, and where they go."""

    spec: DatasetSpec
    part: Path
    first: int
    sides: Sides
    train: Path
    test: Path


@dataclass(frozen=True)
class _Split:
    """The rows of a part by side and class [2, classes], and those that the preprocessor is fitted on, encoded."""

    sizes: NDArray[np.int64]
    fitted_on: NDArray[np.float64]


def _split_part(job: _Job) -> _Split:
    spec, first = job.spec, job.first
    schema = _schema(spec, job.sides.grouped)
    sizes, kept = np.zeros((2, len(spec.target.classes)), dtype=np.int64), [np.empty((0, len(spec.features)))]
    with tables.scratch_writer(job.train, schema) as to_train, tables.scratch_writer(job.test, schema) as to_test:
        for batch in tables.read_parts(job.part):
            held_out, groups, fitted_on = job.sides.of(batch, first)
            matrix, y = encoding.encode(spec, batch), encoding.encode_target(spec, batch)
            columns = [*matrix.T, y]
            columns += [groups] if groups is not None else []
            columns += [batch.column(spec.site).to_numpy(zero_copy_only=False)] if spec.site else []
            for side, (writer, mask) in enumerate(((to_train, ~held_out), (to_test, held_out))):
                writer.write_table(pa.table([column[mask] for column in columns], schema=schema))
                sizes[side] += np.bincount(y[mask], minlength=sizes.shape[1])
            kept.append(matrix[fitted_on])
            first += batch.num_rows
    return _Split(sizes, np.concatenate(kept))


def _schema(spec: DatasetSpec, grouped: bool) -> pa.Schema:
    fields = [*((name, pa.float64()) for name in spec.features), (spec.target.name, pa.int64())]
    fields += [(_GROUP, pa.int64())] if grouped else []
    return pa.schema([*fields, *([(_SITE, pa.string())] if spec.site else [])])


def _check_classes(spec: DatasetSpec, sizes: NDArray[np.int64]) -> None:
    """Make sure that classes [2, classes] stand on both sides: hashes do not see to it."""
    for side, counts in zip(("training part", "hold-out"), sizes, strict=True):
        for cls, count, anywhere in zip(spec.target.classes, counts, sizes.sum(axis=0), strict=True):
            if anywhere and not count:
                raise TrainingError(f"the {side} has no row of class {cls.name!r}, of {anywhere} rows")


def read_split(spec: DatasetSpec, path: Path) -> Part:
    """Return a side's encoded matrix [rows, features] and class positions [rows]."""
    rows = sum(map(tables.count_rows, tables.parts(path)))
    matrix, y = np.empty((rows, len(spec.features))), np.empty(rows, dtype=np.int64)
    begin = 0
    # Batch by batch: a whole table in Arrow's form would take as much memory again.
    for batch in tables.read_parts(path, [*spec.features, spec.target.name]):
        end = begin + batch.num_rows
        for position, name in enumerate(spec.features):
            matrix[begin:end, position] = batch.column(name).to_numpy()
        y[begin:end] = batch.column(spec.target.name).to_numpy()
        begin = end
    return matrix, y


def read_groups(path: Path) -> Groups | None:
    """Return which group each row of a side belongs to [rows]; None where every row is a group of its own."""
    return read_common(path)[0]


def read_common(*sides: Path) -> tuple[Groups | None, NDArray[np.object_] | None]:
    """Return which group and which site each row of all sides belongs to [rows].

    None instead of groups where every row is a group of its own, and instead of sites where the sides do not say.
    """
    names = tables.schema_of(sides[0]).names
    groups, sites = (
        np.concatenate([tables.read_columns(side, [name]).column(0).to_numpy() for side in sides])
        if name in names
        else None
        for name in (_GROUP, _SITE)
    )
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    return groups, sites
