"""The one preprocessor: it equals scikit-learn's, keeps its digits, and learns from the training part alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from healthrisk import spec as specs
from healthrisk.bundle import parity
from healthrisk.bundle.preprocessor import Preprocessor
from healthrisk.data import encoding
from healthrisk.errors import TrainingError
from healthrisk.spec import DatasetSpec
from healthrisk.training import preprocessing


def generated(spec: DatasetSpec, rows: int, seed: int = 0) -> NDArray[np.float64]:
    return parity.generate_rows(spec, rows, seed)


@pytest.mark.parametrize("name", specs.builtin_names())
def test_the_serving_form_equals_scikit_learns(name: str) -> None:
    spec = specs.load(name)
    fitted, serving = preprocessing.fit(spec, generated(spec, 400))
    fresh = generated(spec, 3000, seed=1)
    np.testing.assert_array_equal(serving.transform(fresh), fitted.transform(fresh).astype(np.float32))


# scikit-learn warns of a column whose every value is unknown: it becomes 0, which may be no code.
@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("name", specs.builtin_names())
@pytest.mark.parametrize("rows", [1, 2, 7, 400])
def test_the_serving_form_alone_is_learned_to_the_last_digit(name: str, rows: int) -> None:
    spec = specs.load(name)
    for seed in range(5):
        matrix = generated(spec, rows, seed)
        # Columns of which nothing is known, the first and the last.
        matrix[:, [0, -1][: seed % 3]] = np.nan
        assert preprocessing.learn(spec, matrix).to_json() == preprocessing.fit(spec, matrix)[1].to_json()


@pytest.mark.parametrize("kind", ["number", "code"])
def test_the_serving_form_of_one_kind_of_columns_alone(kind: str) -> None:
    whole = specs.load("heart-disease")
    spec = whole.model_copy(
        update={"columns": tuple(one for one in whole.columns if (one.kind == "code") == (kind == "code"))}
    )
    matrix = generated(spec, 50)
    assert preprocessing.learn(spec, matrix).to_json() == preprocessing.fit(spec, matrix)[1].to_json()


@pytest.mark.parametrize("name", specs.builtin_names())
def test_the_serving_form_survives_json_to_the_last_digit(name: str) -> None:
    spec = specs.load(name)
    serving = preprocessing.fit(spec, generated(spec, 300))[1]
    again = Preprocessor.from_json(serving.to_json())
    assert again.to_json() == serving.to_json()
    fresh = generated(spec, 500, seed=2)
    np.testing.assert_array_equal(again.transform(fresh), serving.transform(fresh))


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_rows_do_not_influence_each_other(seed: int, rows: int) -> None:
    spec = specs.load("heart-disease")
    serving = preprocessing.fit(spec, generated(spec, 100))[1]
    matrix = generated(spec, rows, seed)
    together = serving.transform(matrix)
    np.testing.assert_array_equal(together, np.vstack([serving.transform(row[None]) for row in matrix]))
    assert np.isfinite(together).all()


def test_a_code_that_training_never_saw_moves_no_other_output() -> None:
    spec = specs.load("heart-disease")
    position = next(i for i, column in enumerate(spec.columns) if column.kind == "code" and len(column.codes) > 2)
    codes = list(spec.columns[position].code_values.values())
    matrix = generated(spec, 300)
    matrix[matrix[:, position] == codes[-1], position] = codes[0]
    serving = preprocessing.fit(spec, matrix)[1]
    unseen = matrix[:1].copy()
    unseen[0, position] = codes[-1]
    outputs = serving.transform(unseen)[0, [name.startswith(f"{spec.features[position]}=") for name in serving.outputs]]
    assert outputs.sum() == 1
    assert outputs[-1] == 1


def test_fitting_on_more_rows_gives_other_parameters() -> None:
    spec = specs.load("heart-disease")
    matrix = generated(spec, 200)
    assert preprocessing.fit(spec, matrix[:100])[1].mean.tolist() != preprocessing.fit(spec, matrix)[1].mean.tolist()


def test_the_split_is_seeded_and_stratified() -> None:
    target = np.repeat([0, 1], [164, 139]).astype(np.int64)
    mask = preprocessing.split(target, seed=3)
    assert mask.sum() == 61
    np.testing.assert_array_equal(mask, preprocessing.split(target, seed=3))
    assert (mask != preprocessing.split(target, seed=4)).any()
    assert abs(target[mask].mean() - target.mean()) < 0.01


@pytest.mark.parametrize(("target", "message"), [([1] * 20, "only one class"), ([0] * 20 + [1], "cannot be split")])
def test_what_cannot_be_split_is_refused(target: list[int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        preprocessing.split(np.array(target), seed=0)


@pytest.mark.parametrize("name", specs.builtin_names())
def test_encoding_and_decoding_are_inverse(name: str) -> None:
    spec = specs.load(name)
    matrix = generated(spec, 200)
    rows = encoding.decode(spec, matrix)
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(spec.features)})
    np.testing.assert_array_equal(encoding.encode(spec, table), matrix)


def test_raw_outcomes_become_class_positions() -> None:
    spec = specs.load("heart-disease")
    table = pa.table({spec.target.name: pa.chunked_array([[0, 1, 2], [3, 4, 0]])})
    assert encoding.encode_target(spec, table).tolist() == [0, 1, 1, 1, 1, 0]
